//! Namespaces as collections.

use std::sync::{MutexGuard, PoisonError};

use katena_core::{Error, Filter, Metric, Result};
use qdrant_client::QdrantError;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, DeletePointsBuilder,
    Distance, FieldType, Modifier, PointId, PointsIdsList, ScrollPointsBuilder, SparseVectorParamsBuilder,
    SparseVectorsConfigBuilder, VectorParamsBuilder, VectorsConfigBuilder,
};

use super::QdrantStore;
use super::error::{ALREADY_EXISTS, NOT_FOUND, code, error};
use super::facts::{FACTS, Narrowed};
use super::point::{self, DENSE, WORDS};
use crate::check;

/// Points per page when all are looked at.
const PAGE: u32 = 512;

/// The answer, `None` if there is no such collection.
pub(super) fn found<T>(result: std::result::Result<T, QdrantError>) -> Result<Option<T>> {
    match result {
        Ok(answer) => Ok(Some(answer)),
        Err(e) if code(&e) == Some(NOT_FOUND) => Ok(None),
        Err(e) => Err(error(e)),
    }
}

impl QdrantStore {
    /// The collection of a namespace. Names of collections take few characters, so others than the default are hashed.
    pub(super) fn name_of(&self, namespace: &str) -> String {
        if namespace.is_empty() {
            return self.collection.clone();
        }
        let hash = blake3::hash(namespace.as_bytes()).to_hex();
        format!("{}-ns-{}", self.collection, &hash[..32])
    }

    fn known(&self) -> MutexGuard<'_, std::collections::HashMap<String, usize>> {
        self.dimensions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The collection may have changed.
    pub(super) fn forget(&self, collection: &str) {
        self.known().remove(collection);
    }

    /// Length of the collection's vectors; `None` without a collection.
    pub(super) async fn dimensions_of(&self, collection: &str) -> Result<Option<usize>> {
        let known = self.known().get(collection).copied();
        if known.is_some() {
            return Ok(known);
        }
        let Some(answer) = found(self.client.collection_info(collection).await)? else { return Ok(None) };
        let params =
            answer.result.and_then(|i| i.config).and_then(|c| c.params).and_then(|p| p.vectors_config);
        let size = match params.and_then(|p| p.config) {
            Some(Config::ParamsMap(map)) => map.map.get(DENSE).map(|p| p.size),
            _ => None,
        };
        let Some(size) = size.and_then(|s| usize::try_from(s).ok()) else {
            let error = Error::invalid_input("the collection was not made by Katena");
            return Err(error.with_vendor("qdrant").with_context("collection", collection));
        };
        self.known().insert(collection.to_owned(), size);
        Ok(Some(size))
    }

    /// Makes sure that the collection is there and has vectors of this length.
    pub(super) async fn claim(&self, collection: &str, dimensions: usize) -> Result<()> {
        let Some(has) = self.dimensions_of(collection).await? else {
            return self.create(collection, dimensions).await;
        };
        if has == dimensions {
            return Ok(());
        }
        // Another length: only an empty namespace takes it.
        self.forget(collection);
        match self.count_all(collection).await? {
            Some(0) => {
                self.client.delete_collection(collection).await.map_err(error)?;
                self.create(collection, dimensions).await
            }
            Some(_) => match self.dimensions_of(collection).await? {
                Some(has) => check::same_length(has, dimensions),
                None => self.create(collection, dimensions).await,
            },
            None => self.create(collection, dimensions).await,
        }
    }

    async fn create(&self, collection: &str, dimensions: usize) -> Result<()> {
        let distance = match self.info.metric {
            Metric::Cosine => Distance::Cosine,
            Metric::Dot => Distance::Dot,
            Metric::Euclidean => Distance::Euclid,
            _ => return Err(Error::unsupported("this metric in Qdrant")),
        };
        let mut vectors = VectorsConfigBuilder::default();
        vectors.add_named_vector_params(DENSE, VectorParamsBuilder::new(dimensions as u64, distance));
        let mut words = SparseVectorsConfigBuilder::default();
        words.add_named_vector_params(WORDS, SparseVectorParamsBuilder::default().modifier(Modifier::Idf));
        let create =
            CreateCollectionBuilder::new(collection).vectors_config(vectors).sparse_vectors_config(words);
        match self.client.create_collection(create).await {
            Ok(_) => {}
            // Somebody else was faster.
            Err(e) if code(&e) == Some(ALREADY_EXISTS) => {}
            // The server says so as an invalid argument, too.
            Err(e) => {
                let exists = self.client.collection_exists(collection).await.map_err(error)?;
                if !exists {
                    return Err(error(e));
                }
            }
        }
        let index = CreateFieldIndexCollectionBuilder::new(collection, FACTS, FieldType::Keyword).wait(true);
        self.client.create_field_index(index).await.map_err(error)?;
        self.forget(collection);
        match self.dimensions_of(collection).await? {
            Some(has) => check::same_length(has, dimensions),
            // Removed again: the write will tell.
            None => Ok(()),
        }
    }

    async fn count_all(&self, collection: &str) -> Result<Option<u64>> {
        let answer = found(self.client.count(CountPointsBuilder::new(collection).exact(true)).await)?;
        Ok(answer.and_then(|a| a.result).map(|r| r.count))
    }

    /// Removes the collection; returns how many points it had.
    pub(super) async fn remove_all(&self, collection: &str) -> Result<u64> {
        let Some(count) = self.count_all(collection).await? else { return Ok(0) };
        found(self.client.delete_collection(collection).await)?;
        self.forget(collection);
        Ok(count)
    }

    /// Removes points that are there; returns how many.
    pub(super) async fn remove(&self, collection: &str, points: Vec<PointId>) -> Result<u64> {
        let mut points = points;
        points.sort_unstable_by_key(|p| format!("{p:?}"));
        points.dedup();
        for ids in points.chunks(PAGE as usize) {
            let list = PointsIdsList { ids: ids.to_vec() };
            let request = DeletePointsBuilder::new(collection).points(list).wait(true);
            if found(self.client.delete_points(request).await)?.is_none() {
                break;
            }
        }
        Ok(points.len() as u64)
    }

    /// The points that the filter fits.
    pub(super) async fn fitting(&self, collection: &str, filter: Option<&Filter>) -> Result<Vec<PointId>> {
        let narrowed = Narrowed::new(filter);
        let mut points = Vec::new();
        let mut offset: Option<PointId> = None;
        loop {
            let mut request = ScrollPointsBuilder::new(collection).limit(PAGE);
            request = if narrowed.exact {
                request.with_payload(false)
            } else {
                request.with_payload(point::only_document())
            };
            if let Some(filter) = narrowed.filter() {
                request = request.filter(filter);
            }
            if let Some(offset) = offset {
                request = request.offset(offset);
            }
            let Some(page) = found(self.client.scroll(request).await)? else { return Ok(points) };
            for point in page.result {
                let fits = narrowed.exact
                    || match filter {
                        Some(filter) => filter.matches(&point::document(&point.payload)?.metadata),
                        None => true,
                    };
                points.extend(point.id.filter(|_| fits));
            }
            offset = page.next_page_offset;
            if offset.is_none() {
                return Ok(points);
            }
        }
    }
}
