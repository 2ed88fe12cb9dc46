//! Answers kept for a while: same tenant, and so the same model, and same question.
use std::{sync::Arc, time::Duration};

use moka::future::Cache;

/// An answer without what its first request cost.
#[derive(Debug)]
pub struct CachedAnswer {
    /// What the model said.
    pub text: String,
    /// The model that said it.
    pub model: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    tenant: usize,
    query: String,
}

/// Bounded in time and in memory. Equal questions that arrive together may each call the model.
#[derive(Debug)]
pub struct AnswerCache {
    answers: Cache<Key, Arc<CachedAnswer>>,
}

/// What an entry takes besides its text: key, pointers and moka's own bookkeeping, roughly.
const ENTRY_OVERHEAD: usize = 256;

impl AnswerCache {
    /// An empty cache. A `ttl` of zero keeps nothing.
    pub fn new(ttl: Duration, max_bytes: u64) -> Self {
        let answers = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|key: &Key, answer: &Arc<CachedAnswer>| {
                u32::try_from(key.query.len() + answer.text.len() + ENTRY_OVERHEAD).unwrap_or(u32::MAX)
            })
            .time_to_live(ttl)
            .build();
        Self { answers }
    }

    /// The answer to a question of this tenant.
    pub async fn get(&self, tenant: usize, query: &str) -> Option<Arc<CachedAnswer>> {
        self.answers.get(&Key { tenant, query: normalise(query) }).await
    }

    /// Keeps an answer.
    pub async fn insert(&self, tenant: usize, query: &str, answer: CachedAnswer) {
        self.answers.insert(Key { tenant, query: normalise(query) }, Arc::new(answer)).await;
    }
}

/// Questions that differ in white space only are the same. Case is kept: "us" and "US" are not.
fn normalise(query: &str) -> String {
    let mut normal = String::with_capacity(query.len());
    for word in query.split_whitespace() {
        if !normal.is_empty() {
            normal.push(' ');
        }
        normal.push_str(word);
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> CachedAnswer {
        CachedAnswer { text: "42".to_owned(), model: "m".into() }
    }

    #[tokio::test]
    async fn white_space_does_not_matter_but_tenant_and_case_do() {
        let cache = AnswerCache::new(Duration::from_mins(1), 1 << 20);
        cache.insert(0, " What  is\nit? ", answer()).await;
        assert_eq!(cache.get(0, "What is it?").await.unwrap().text, "42");
        assert!(cache.get(1, "What is it?").await.is_none());
        assert!(cache.get(0, "what is it?").await.is_none());
    }

    #[tokio::test]
    async fn no_time_to_live_means_no_cache_and_nothing_larger_than_the_bound_is_kept() {
        let off = AnswerCache::new(Duration::ZERO, 1 << 20);
        off.insert(0, "q", answer()).await;
        assert!(off.get(0, "q").await.is_none());
        let small = AnswerCache::new(Duration::from_mins(1), 512);
        small.insert(0, "q", CachedAnswer { text: "x".repeat(1000), model: "m".into() }).await;
        small.answers.run_pending_tasks().await;
        assert!(small.get(0, "q").await.is_none());
    }

    #[tokio::test]
    async fn answers_go_when_their_time_is_over_and_all_together_stay_within_the_bound() {
        let brief = AnswerCache::new(Duration::from_millis(200), 1 << 20);
        brief.insert(0, "q", answer()).await;
        let begun = std::time::Instant::now();
        while brief.get(0, "q").await.is_some() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it is kept for ever");
            tokio::task::yield_now().await;
        }
        let bounded = AnswerCache::new(Duration::from_mins(1), 10_000);
        for number in 0..1000 {
            bounded.insert(0, &number.to_string(), answer()).await;
        }
        bounded.answers.run_pending_tasks().await;
        assert!((5000..=10_000).contains(&bounded.answers.weighted_size()), "{bounded:?}");
    }
}
