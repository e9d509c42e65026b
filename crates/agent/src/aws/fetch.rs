//! In which calls wishes are served.

use super::{
    AwsManager,
    calls::{BATCH_MAX, Batch, Calls},
    failover::of_both,
    names::{self, SecretArn},
};
use crate::{
    failure::{Cause, Failure},
    manager::{Fetched, Wanted, Which},
};
use futures_util::{StreamExt, stream};
use std::time::Duration;

/// Batches that are under way at once.
const BATCHES_AT_ONCE: usize = 5;
/// Single calls that are under way at once.
const SINGLES_AT_ONCE: usize = 10;
/// How long a missing permission for batches is believed.
const NO_BATCH_KEPT: Duration = Duration::from_secs(600);

/// The answers of wishes, by their places in the question.
type Answers = Vec<(usize, Result<Fetched, Failure>)>;

impl AwsManager {
    pub(super) async fn fetch_one(&self, wanted: &Wanted) -> Result<Fetched, Failure> {
        if let Some(replica) = self.instead_of_home() {
            return self.get_abroad(replica, wanted, None).await;
        }
        match self.at_home(get(&self.home, wanted)).await {
            Err(failure) => match self.replica_after(&failure) {
                Some(replica) => self.get_abroad(replica, wanted, Some(failure)).await,
                None => Err(failure),
            },
            Ok(fetched) => {
                self.note_home([&fetched]);
                Ok(fetched)
            }
        }
    }

    async fn get_abroad(
        &self,
        replica: &Calls,
        wanted: &Wanted,
        home: Option<Failure>,
    ) -> Result<Fetched, Failure> {
        let fetched = get(replica, &Self::abroad(replica, wanted)).await;
        fetched
            .and_then(|fetched| self.brought_home(fetched))
            .map_err(|failure| of_both(home, replica, failure))
    }

    pub(super) async fn fetch_all(&self, wanted: &[Wanted]) -> Vec<Result<Fetched, Failure>> {
        let places: Vec<usize> = (0..wanted.len()).collect();
        let current = |place: &usize| {
            wanted.get(*place).is_some_and(|wanted| wanted.version == Which::Current)
        };
        let (mut batched, mut single): (Vec<usize>, Vec<usize>) =
            places.into_iter().partition(|place| current(place));
        if batched.len() < 2 || !self.may_batch() {
            single.append(&mut batched);
        }
        let mut answers: Vec<Option<Result<Fetched, Failure>>> = vec![None; wanted.len()];
        let chunks: Vec<Vec<usize>> = batched.chunks(BATCH_MAX).map(<[usize]>::to_vec).collect();
        let under_way = chunks
            .into_iter()
            .map(|chunk| Box::pin(async move { self.fetch_batch(wanted, &chunk).await }));
        let batches: Vec<(Answers, Vec<usize>)> =
            stream::iter(under_way).buffer_unordered(BATCHES_AT_ONCE).collect().await;
        for (served, left) in batches {
            put(&mut answers, served);
            single.extend(left);
        }
        let under_way = single.into_iter().filter_map(|place| {
            let wanted = wanted.get(place)?;
            Some(Box::pin(async move { (place, self.fetch_one(wanted).await) }))
        });
        let singles: Answers =
            stream::iter(under_way).buffer_unordered(SINGLES_AT_ONCE).collect().await;
        put(&mut answers, singles);
        let unanswered = || Err(Failure::new(Cause::Unavailable, "AWS did not answer for it"));
        answers.into_iter().map(|answer| answer.unwrap_or_else(unanswered)).collect()
    }

    /// Serves wishes by one batch; gives the answers, and the places that single calls are to serve.
    async fn fetch_batch(&self, wanted: &[Wanted], places: &[usize]) -> (Answers, Vec<usize>) {
        let ids: Vec<(usize, String)> = places
            .iter()
            .filter_map(|place| Some((*place, wanted.get(*place)?.id.clone())))
            .collect();
        let replica = self.instead_of_home();
        let failure = match replica {
            Some(_) => None,
            None => match self.at_home(self.home.batch(&unique(&ids))).await {
                Ok(batch) => {
                    self.note_home(&batch.values);
                    return sorted(&ids, batch);
                }
                Err(failure) => Some(failure),
            },
        };
        let replica = replica.or_else(|| self.replica_after(failure.as_ref()?));
        let Some(replica) = replica else {
            let failure = failure.unwrap_or_else(|| Failure::new(Cause::Unavailable, "away"));
            return self.without_batch(places, failure);
        };
        let abroad: Vec<(usize, String)> =
            ids.iter().map(|(place, id)| (*place, names::in_region(id, &replica.region))).collect();
        match replica.batch(&unique(&abroad)).await {
            Ok(batch) => {
                let (served, left) = sorted(&abroad, batch);
                let home = served.into_iter().map(|(place, answer)| {
                    let answer = answer.and_then(|fetched| self.brought_home(fetched));
                    (place, answer.map_err(|error| of_both(failure.clone(), replica, error)))
                });
                (home.collect(), left)
            }
            Err(error) if is_not_permitted(&error) || is_of_an_id(&error) => {
                self.without_batch(places, error)
            }
            Err(error) => all(places, &of_both(failure, replica, error)),
        }
    }

    /// What becomes of wishes whose batch failed: where batches are not for this caller, or one of the ids is not for
    /// a batch, single calls serve.
    fn without_batch(&self, places: &[usize], failure: Failure) -> (Answers, Vec<usize>) {
        if is_not_permitted(&failure) {
            self.note_no_batch(&failure);
        } else if !is_of_an_id(&failure) {
            return all(places, &failure);
        }
        (Vec::new(), places.to_vec())
    }

    pub(super) fn may_batch(&self) -> bool {
        let until = self.state.lock().no_batch_until;
        until.is_none_or(|until| self.now() >= until)
    }

    pub(super) fn note_no_batch(&self, failure: &Failure) {
        let until = self.now() + NO_BATCH_KEPT;
        let before = self.state.lock().no_batch_until.replace(until);
        if before.is_none() {
            crate::event::no_batches(&self.place, failure);
        }
    }
}

/// Whether a call as a whole was refused, or is not known to whoever answers in AWS's place.
pub(super) fn is_not_permitted(failure: &Failure) -> bool {
    let unknown = ["UnknownOperationException", "InvalidAction", "NotImplemented"];
    failure.cause == Cause::Denied || unknown.contains(&failure.code.as_str())
}

/// Whether a call as a whole failed of what it asked for.
fn is_of_an_id(failure: &Failure) -> bool {
    matches!(failure.cause, Cause::Invalid | Cause::NotFound | Cause::Decryption)
}

fn put(answers: &mut [Option<Result<Fetched, Failure>>], served: Answers) {
    for (place, answer) in served {
        if let Some(slot) = answers.get_mut(place) {
            *slot = Some(answer);
        }
    }
}

fn all(places: &[usize], failure: &Failure) -> (Answers, Vec<usize>) {
    (places.iter().map(|place| (*place, Err(failure.clone()))).collect(), Vec::new())
}

fn unique(ids: &[(usize, String)]) -> Vec<String> {
    let mut unique: Vec<String> = ids.iter().map(|(_, id)| id.clone()).collect();
    unique.sort_unstable();
    unique.dedup();
    unique
}

/// Which answer of a batch belongs to which wish. What is not answered, and ARNs that may be without their end,
/// are asked for one by one.
fn sorted(ids: &[(usize, String)], batch: Batch) -> (Answers, Vec<usize>) {
    let (mut served, mut left) = (Answers::new(), Vec::new());
    for (place, id) in ids {
        let value = batch.values.iter().find(|value| names::is_answer(id, &value.id, &value.name));
        let error = batch.errors.iter().find(|(of, _)| of == id || names::is_answer(id, of, of));
        match (value, error) {
            (Some(value), _) => served.push((*place, Ok(value.clone()))),
            (None, Some((_, failure))) if !may_be_partial(id, failure) => {
                served.push((*place, Err(failure.clone())));
            }
            (None, _) => left.push(*place),
        }
    }
    (served, left)
}

/// Whether an ARN that was not found may be one without its random end: AWS takes a name's own end for it, where
/// the name ends in a hyphen and six characters.
fn may_be_partial(id: &str, failure: &Failure) -> bool {
    failure.cause == Cause::NotFound && SecretArn::parse(id).is_some_and(|arn| arn.looks_whole())
}

/// One secret, by its name where its ARN may be without its end.
async fn get(calls: &Calls, wanted: &Wanted) -> Result<Fetched, Failure> {
    let failure = match calls.get(wanted).await {
        Err(failure) if may_be_partial(&wanted.id, &failure) => failure,
        answer => return answer,
    };
    let Some(arn) = SecretArn::parse(&wanted.id) else { return Err(failure) };
    let named = Wanted { id: arn.resource.to_owned(), version: wanted.version.clone() };
    match calls.get(&named).await {
        Ok(fetched) if names::is_answer(&wanted.id, &fetched.id, &fetched.name) => Ok(fetched),
        _ => Err(failure),
    }
}
