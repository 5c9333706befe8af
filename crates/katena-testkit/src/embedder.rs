//! The contract of [`Embedder`].

use katena_core::{EmbedRequest, EmbedRole, Embedder, ErrorKind};

use crate::FAKE_KEY;
use crate::harness::{Law, cancelled};

const TEXTS: [&str; 6] = [
    "The ferry leaves at half past six.",
    "Bread needs flour, water, salt and time.",
    "A catena is a chain of quotations.",
    "Der Zug nach Zürich fährt von Gleis 4.",
    "x",
    "The ferry leaves at half past six, the last one at ten, and on Sundays there is none at all.",
];

async fn vectors(law: Law, embedder: &dyn Embedder, texts: &[&str]) -> Vec<Vec<f32>> {
    let request = EmbedRequest::documents(texts.iter().copied());
    let response = law.ok("embedding", embedder.embed(&request).await);
    law.same("number of vectors", &response.vectors.len(), &texts.len());
    response.vectors
}

async fn alone(law: Law, embedder: &dyn Embedder, text: &str) -> Vec<f32> {
    vectors(law, embedder, &[text]).await.remove(0)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())
}

fn near(law: Law, what: &str, a: &[f32], b: &[f32]) {
    law.same(&format!("{what}: length"), &a.len(), &b.len());
    let worst = a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    law.check(worst <= 1e-4, format!("{what}: a component differs by {worst}"));
}

fn well_formed(law: Law, embedder: &dyn Embedder, what: &str, vector: &[f32]) {
    let wanted = embedder.info().dimensions;
    law.check(vector.len() == wanted, format!("{what}: {} dimensions, `info` says {wanted}", vector.len()));
    law.check(vector.iter().all(|x| x.is_finite()), format!("{what}: a component is not finite"));
}

/// As many vectors as texts, in their order.
pub async fn one_vector_a_text(embedder: &dyn Embedder) {
    let law = Law("Embedder: one_vector_a_text");
    for n in [1, 2, TEXTS.len()] {
        vectors(law, embedder, &TEXTS[..n]).await;
    }
    let twice = vectors(law, embedder, &[TEXTS[0], TEXTS[0]]).await;
    near(law, "the same text twice in a request", &twice[0], &twice[1]);
}

/// Each vector is as long as `info` says, and finite.
pub async fn dimensions_as_stated(embedder: &dyn Embedder) {
    let law = Law("Embedder: dimensions_as_stated");
    law.check(embedder.info().dimensions > 0, "`info` states 0 dimensions");
    law.check(!embedder.info().model.is_empty(), "`info` names no model");
    for role in [EmbedRole::Query, EmbedRole::Document] {
        let request = EmbedRequest::documents(TEXTS).with_role(role);
        for vector in law.ok("embedding", embedder.embed(&request).await).vectors {
            well_formed(law, embedder, &format!("{role:?}"), &vector);
        }
    }
}

/// Within 1e-4 per component, alone or in a batch.
pub async fn same_text_same_vector(embedder: &dyn Embedder) {
    let law = Law("Embedder: same_text_same_vector");
    let first = alone(law, embedder, TEXTS[2]).await;
    near(law, "asked twice", &first, &alone(law, embedder, TEXTS[2]).await);
    let batch = vectors(law, embedder, &TEXTS).await;
    near(law, "alone and in a batch", &first, &batch[2]);
}

/// A batch equals its texts embedded one by one (cosine ≥ 0.999).
pub async fn order_is_kept(embedder: &dyn Embedder) {
    let law = Law("Embedder: order_is_kept");
    // Long and short in turn, so that a component that sorts by length must sort back.
    let texts: Vec<String> =
        (0..12).map(|n| format!("Item {n} {}", "and more ".repeat((n * 7) % 5))).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let batch = vectors(law, embedder, &texts).await;
    for (n, text) in texts.iter().enumerate() {
        let cosine = cosine(&batch[n], &alone(law, embedder, text).await);
        law.check(cosine >= 0.999, format!("text {n} of the batch has cosine {cosine} to itself alone"));
    }
}

/// An empty request gives an empty response.
pub async fn no_texts_no_vectors(embedder: &dyn Embedder) {
    let law = Law("Embedder: no_texts_no_vectors");
    vectors(law, embedder, &[]).await;
}

/// An empty text gives a finite vector or `InvalidInput`, never a shift of the others.
pub async fn empty_text_has_a_vector(embedder: &dyn Embedder) {
    let law = Law("Embedder: empty_text_has_a_vector");
    for blank in ["", " \n\t "] {
        let request = EmbedRequest::documents([TEXTS[0], blank, TEXTS[1]]);
        match embedder.embed(&request).await {
            Err(error) => law.check(
                error.kind() == ErrorKind::InvalidInput,
                format!("{blank:?} may be `invalid_input` only, but it failed so: {error:?}"),
            ),
            Ok(response) => {
                law.same("number of vectors", &response.vectors.len(), &3);
                well_formed(law, embedder, "the empty text", &response.vectors[1]);
                near(law, "the text before", &response.vectors[0], &alone(law, embedder, TEXTS[0]).await);
                near(law, "the text after", &response.vectors[2], &alone(law, embedder, TEXTS[1]).await);
            }
        }
    }
}

/// Any text, NUL and emoji included, gives a vector or a typed error.
pub async fn unicode_is_welcome(embedder: &dyn Embedder) {
    let law = Law("Embedder: unicode_is_welcome");
    let long = "long ".repeat(4000);
    for text in [
        "👩‍👩‍👧‍👦 🇨🇭 ☕",
        "a\0b",
        "e\u{301}\u{302}\u{303}",
        "日本語の文章です。",
        "\u{202e}right to left\u{202c} עברית",
        "\u{feff}bom \u{fffd} \u{10ffff}",
        "line\r\nbreak\u{2028}more",
        &long,
    ] {
        let shown: String = text.chars().take(20).collect();
        match embedder.embed(&EmbedRequest::documents([text])).await {
            Ok(response) => {
                law.same("number of vectors", &response.vectors.len(), &1);
                well_formed(law, embedder, &format!("{shown:?}"), &response.vectors[0]);
            }
            Err(error) => law.check(
                matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::ContextTooLong),
                format!("{shown:?} is the caller's input, but it failed so: {error:?}"),
            ),
        }
    }
}

/// With `normalized`, each length is 1 within 1e-3.
pub async fn normalized_as_stated(embedder: &dyn Embedder) {
    let law = Law("Embedder: normalized_as_stated");
    if !embedder.info().normalized {
        return law.skip("`info` does not state normalized vectors");
    }
    for vector in vectors(law, embedder, &TEXTS).await {
        let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        law.check((length - 1.0).abs() <= 1e-3, format!("a vector has length {length}"));
    }
}

/// 100 texts in one request.
pub async fn large_batches_work(embedder: &dyn Embedder) {
    let law = Law("Embedder: large_batches_work");
    let texts: Vec<String> = (0..100).map(|n| format!("Sentence number {n} of a large batch.")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let batch = vectors(law, embedder, &texts).await;
    for n in [0, 57, 99] {
        well_formed(law, embedder, &format!("text {n}"), &batch[n]);
        let cosine = cosine(&batch[n], &alone(law, embedder, texts[n]).await);
        law.check(cosine >= 0.999, format!("text {n} of 100 has cosine {cosine} to itself alone"));
    }
}

/// A cancelled context is `Cancelled`.
pub async fn cancelled_before_the_call(embedder: &dyn Embedder) {
    let law = Law("Embedder: cancelled_before_the_call");
    let request = EmbedRequest::documents(TEXTS).with_context(cancelled());
    law.fails("a cancelled call", ErrorKind::Cancelled, embedder.embed(&request).await);
}

/// `Debug` prints names and shapes only.
pub async fn debug_hides_content(embedder: &dyn Embedder) {
    let law = Law("Embedder: debug_hides_content");
    let marker = "katena-marker-77812";
    let request = EmbedRequest::documents([marker]);
    let response = law.ok("embedding", embedder.embed(&request).await);
    for shown in [format!("{embedder:?} {embedder:#?}"), format!("{request:?}"), format!("{response:?}")] {
        law.check(!shown.contains(marker), "`Debug` shows the text");
        law.check(!shown.contains(FAKE_KEY), "`Debug` shows the key");
    }
}
