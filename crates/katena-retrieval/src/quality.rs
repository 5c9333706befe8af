//! How well a retriever finds what it should: recall and mean reciprocal rank over judged questions.

use std::fmt;

use katena_core::{Context, Error, Query, Result, Retriever};

/// A question and the addresses of the sources that answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Judged {
    /// The question.
    pub question: String,
    /// Addresses of the right sources; one found is enough.
    pub relevant: Vec<String>,
}

impl Judged {
    /// A question with the one source that answers it.
    pub fn new(question: impl Into<String>, relevant: impl Into<String>) -> Self {
        Self { question: question.into(), relevant: vec![relevant.into()] }
    }

    /// Another source that answers it.
    pub fn or(mut self, relevant: impl Into<String>) -> Self {
        self.relevant.push(relevant.into());
        self
    }
}

/// Figures of one retriever, each from 0 to 1. `Display` prints a row of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Quality {
    /// Number of questions.
    pub questions: usize,
    /// Share of questions whose first passage is right.
    pub recall_at_1: f64,
    /// Share of questions with a right passage among the first five.
    pub recall_at_5: f64,
    /// Mean over the questions of 1 / rank of the first right passage, 0 if none is among those looked at.
    pub mrr: f64,
}

impl Quality {
    /// Figures from the rank (from 1) of the first right passage of each question.
    ///
    /// ```
    /// use katena_retrieval::quality::Quality;
    /// let quality = Quality::of_ranks([Some(1), Some(4), None]);
    /// assert!((quality.recall_at_5 - 2.0 / 3.0).abs() < 1e-9);
    /// assert!((quality.mrr - (1.0 + 0.25) / 3.0).abs() < 1e-9);
    /// ```
    pub fn of_ranks(ranks: impl IntoIterator<Item = Option<usize>>) -> Self {
        let mut sum = Self::default();
        for rank in ranks {
            sum.questions += 1;
            if let Some(rank) = rank {
                sum.recall_at_1 += f64::from(u8::from(rank <= 1));
                sum.recall_at_5 += f64::from(u8::from(rank <= 5));
                sum.mrr += 1.0 / rank as f64;
            }
        }
        let n = sum.questions.max(1) as f64;
        Self { recall_at_1: sum.recall_at_1 / n, recall_at_5: sum.recall_at_5 / n, mrr: sum.mrr / n, ..sum }
    }
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4}  {:.4}  {:.4}", self.recall_at_1, self.recall_at_5, self.mrr)
    }
}

/// Asks `retriever` every question and looks for a right source among its first `depth` passages.
///
/// # Errors
/// The retriever's own; kind `InvalidInput` without questions.
pub async fn measure(retriever: &dyn Retriever, questions: &[Judged], depth: usize) -> Result<Quality> {
    if questions.is_empty() {
        return Err(Error::invalid_input("there are no questions to measure with"));
    }
    let mut ranks = Vec::with_capacity(questions.len());
    for judged in questions {
        let query = Query::new(&judged.question).with_top_k(depth).with_context(Context::new());
        let found = retriever.retrieve(&query).await?;
        let right = |uri: &String| judged.relevant.contains(uri);
        ranks.push(found.iter().position(|s| right(&s.item.source.uri)).map(|at| at + 1));
    }
    Ok(Quality::of_ranks(ranks))
}

/// A table with a line for each named retriever, in Markdown.
///
/// # Errors
/// Those of [`measure`].
pub async fn table(retrievers: &[(&str, &dyn Retriever)], questions: &[Judged]) -> Result<String> {
    let mut lines = vec!["| retriever | R@1 | R@5 | MRR@10 |".to_owned(), "|---|---|---|---|".to_owned()];
    for (name, retriever) in retrievers {
        let q = measure(*retriever, questions, 10).await?;
        lines.push(format!("| {name} | {:.4} | {:.4} | {:.4} |", q.recall_at_1, q.recall_at_5, q.mrr));
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}
