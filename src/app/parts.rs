//! The tasks of a role. Each runs until the role stops: one that ends before, or panics, ends the process, because what is
//! left would look alive and do nothing.

use std::collections::HashMap;
use std::future::Future;

use tokio::task::{Id, JoinSet};

use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::telemetry::{how_it_ended, named};

/// Tasks with names.
#[derive(Default)]
pub struct Parts {
    tasks: JoinSet<Result<(), String>>,
    names: HashMap<Id, &'static str>,
}

impl Parts {
    /// Starts a part. Its error, if it ends with one, is in words for the operator.
    pub fn spawn(&mut self, name: &'static str, part: impl Future<Output = Result<(), String>> + Send + 'static) {
        let id = self.tasks.spawn(named(name, part)).id();
        self.names.insert(id, name);
    }

    /// Starts a part that has nothing to say at its end.
    pub fn spawn_quiet(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, async move {
            part.await;
            Ok(())
        });
    }

    /// Waits for the first part that ends, and returns what to say of it. Never returns while there is none.
    pub async fn ended(&mut self) -> AppError {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return std::future::pending().await;
        };
        let (id, why) = match ended {
            Ok((id, Ok(()))) => (id, "it has stopped without being told to".to_owned()),
            Ok((id, Err(why))) => (id, why),
            Err(crash) => (crash.id(), how_it_ended(&crash).to_owned()),
        };
        AppError::Died { part: self.names.get(&id).copied().unwrap_or("a part"), why }
    }

    /// Waits until the parts are told to stop. Returns what to say of one that ended before.
    pub async fn ended_before(&mut self, stop: &CancellationToken) -> Option<AppError> {
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            died = self.ended() => Some(died),
        }
    }

    /// Waits until all have ended after they were told to. Returns what to say of the first that did not end well.
    pub async fn all_ended(&mut self) -> Option<AppError> {
        let mut died = None;
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let (id, why) = match ended {
                Ok((_, Ok(()))) => continue,
                Ok((id, Err(why))) => (id, why),
                Err(crash) if crash.is_cancelled() => continue,
                Err(crash) => (crash.id(), how_it_ended(&crash).to_owned()),
            };
            let part = self.names.get(&id).copied().unwrap_or("a part");
            died.get_or_insert(AppError::Died { part, why });
        }
        died
    }

    /// Ends all at once.
    pub fn abort(&mut self) {
        self.tasks.abort_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_the_part_that_ended_and_how() {
        let mut parts = Parts::default();
        parts.spawn_quiet("the patient one", std::future::pending());
        parts.spawn_quiet("the flow", async { panic!("user data") });
        let said = parts.ended().await.to_string();
        assert!(said.contains("the flow") && said.contains("panicked") && !said.contains("user data"), "{said}");
        parts.spawn("http", async { Err("listener failed".to_owned()) });
        assert!(parts.ended().await.to_string().contains("listener failed"));
        parts.spawn_quiet("consuming", async {});
        assert!(parts.ended().await.to_string().contains("consuming"));
        parts.abort();
        assert!(parts.all_ended().await.is_none());
    }

    #[tokio::test]
    async fn being_told_to_stop_is_no_death_and_dying_at_it_is() {
        let stop = CancellationToken::new();
        let mut parts = Parts::default();
        let (told, also) = (stop.clone(), stop.clone());
        parts.spawn_quiet("the API", async move { told.cancelled().await });
        parts.spawn_quiet("the upkeep of metrics", async move {
            also.cancelled().await;
            panic!("user data");
        });
        stop.cancel();
        assert!(parts.ended_before(&stop).await.is_none());
        let said = parts.all_ended().await.unwrap().to_string();
        assert!(said.contains("the upkeep of metrics") && !said.contains("user data"), "{said}");
        let mut parts = Parts::default();
        parts.spawn_quiet("the API", std::future::ready(()));
        let said = parts.ended_before(&CancellationToken::new()).await.unwrap().to_string();
        assert!(said.contains("the API"), "{said}");
    }
}
