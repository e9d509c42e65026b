//! The secrets of KV engines.

use super::{
    Copy,
    end::End,
    mounts::Engine,
    report::Kind,
    versions::{self, Metadata, Plan},
};
use bailee_client::{Error, Method, Outgoing, kv::KvMount, walk::walk};
use bailee_crypto::{Clock, SystemClock};
use futures_util::StreamExt;
use serde_json::{Map, Value, json};

/// Secrets that are copied at once.
const SECRETS_AT_ONCE: usize = 8;

/// What became of a secret.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    /// Copied, or it would be, with so many versions; and so many of those had a value that cannot be
    /// read.
    Copied {
        versions: u64,
        unreadable: usize,
    },
    There,
    Left(String),
    /// Removed at the source meanwhile.
    Gone,
}

/// One of the two servers' places for a secret.
struct Pair<'a> {
    from: &'a End,
    to: &'a End,
    engine: &'a Engine,
    path: &'a str,
    writes: bool,
}

impl Copy {
    /// All secrets of one engine.
    pub(super) async fn secrets(&mut self, engine: &Engine) -> Result<(), Error> {
        let KvMount { path: mount, .. } = &engine.mount;
        let walked = match walk(&self.from.session, &engine.mount, "").await {
            Ok(walked) => walked,
            Err(error) => return self.told(mount.clone(), Err(error)),
        };
        for (path, error) in walked.failed {
            self.report.failed(format!("{mount}{path}"), error.to_string());
        }
        let (from, to, writes) = (&self.from, &self.to, self.writes);
        let copied = futures_util::stream::iter(walked.secrets.keys()).map(|path| async move {
            let pair = Pair { from, to, engine, path, writes };
            (path, pair.copy().await)
        });
        let mut copied = copied.buffer_unordered(SECRETS_AT_ONCE);
        let mut ended = Vec::new();
        while let Some((path, outcome)) = copied.next().await {
            let fatal = outcome.as_ref().is_err_and(|error| !super::end::is_single(error));
            ended.push((format!("{mount}{path}"), outcome));
            if fatal {
                break;
            }
        }
        drop(copied);
        // In the order of names, whatever came first.
        ended.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (name, outcome) in ended {
            let became = match outcome {
                Ok(became) => became,
                Err(error) => {
                    self.told(name, Err(error))?;
                    continue;
                }
            };
            match became {
                Became::There => self.report.there(Kind::Secret),
                Became::Left(why) => self.report.left(name, why),
                Became::Gone => {}
                Became::Copied { versions, unreadable } => {
                    self.report.copied(Kind::Secret);
                    self.report.versions(versions);
                    if unreadable > 0 {
                        let what = "deleted versions whose values cannot be read";
                        self.report.note(name, format!("{unreadable} {what}"));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Pair<'_> {
    async fn copy(&self) -> Result<Became, Error> {
        if self.engine.mount.versioned {
            self.copy_versions().await
        } else {
            self.copy_value().await
        }
    }

    async fn copy_value(&self) -> Result<Became, Error> {
        let place = format!("{}{}", self.engine.mount.path, self.path);
        let Some(value) = self.from.fields(&place).await? else { return Ok(Became::Gone) };
        let here = if self.engine.is_there { self.to.fields(&place).await? } else { None };
        match here {
            Some(here) if here == value => return Ok(Became::There),
            Some(_) => return Ok(Became::Left("its value is another".to_owned())),
            None => {}
        }
        if self.writes {
            self.to.write(&place, &value.into()).await?;
        }
        Ok(Became::Copied { versions: 1, unreadable: 0 })
    }

    async fn copy_versions(&self) -> Result<Became, Error> {
        let Some(theirs) = self.metadata(self.from).await? else { return Ok(Became::Gone) };
        let ours = if self.engine.is_there { self.metadata(self.to).await? } else { None };
        let now = SystemClock.now();
        let plan = match versions::plan(&theirs, ours.as_ref(), now) {
            Ok(plan) => plan,
            Err(why) => return Ok(Became::Left(why.to_owned())),
        };
        if let Some(number) = plan.compare {
            let here = self.value(self.to, number).await?;
            let there = match theirs.has_value(number, now) {
                true => self.value(self.from, number).await?,
                false => Some(versions::filler()),
            };
            // Deleted between two questions: the next run sees it.
            if here.is_none() || here != there {
                return Ok(Became::Left(format!("its version {number} is another")));
            }
        }
        if plan.is_nothing() {
            return Ok(Became::There);
        }
        if self.writes {
            self.act(&theirs, &plan).await?;
        }
        let versions = u64::try_from(plan.write.len()).unwrap_or(u64::MAX);
        Ok(Became::Copied { versions, unreadable: theirs.unreadable(now) })
    }

    async fn act(&self, theirs: &Metadata, plan: &Plan) -> Result<(), Error> {
        let now = SystemClock.now();
        if plan.settings {
            self.to.write(&self.place("metadata"), &theirs.settings()).await?;
        }
        for number in &plan.write {
            let value = match theirs.has_value(*number, now) {
                true => self.value(self.from, *number).await?,
                false => None,
            };
            // Check-and-set: nobody else's version is written over, and none is written twice.
            let body = json!({
                "data": value.unwrap_or_else(versions::filler),
                "options": { "cas": number - 1 },
            });
            self.to.write(&self.place("data"), &body).await?;
        }
        for (verb, numbers) in [("delete", &plan.delete), ("destroy", &plan.destroy)] {
            if !numbers.is_empty() {
                self.to.write(&self.place(verb), &json!({ "versions": numbers })).await?;
            }
        }
        Ok(())
    }

    fn place(&self, segment: &str) -> String {
        let mount = &self.engine.mount;
        mount.api_path(segment, &format!("{}{}", mount.path, self.path))
    }

    async fn metadata(&self, end: &End) -> Result<Option<Metadata>, Error> {
        end.read(Outgoing::new(Method::Get, self.place("metadata"))).await
    }

    /// The value of a version; `None` when it is not readable any more.
    async fn value(&self, end: &End, number: u64) -> Result<Option<Map<String, Value>>, Error> {
        #[derive(serde::Deserialize)]
        struct Read {
            data: Option<Map<String, Value>>,
        }
        let outgoing = Outgoing::new(Method::Get, self.place("data"));
        let read: Option<Read> = end.read(outgoing.query("version", number.to_string())).await?;
        Ok(read.and_then(|read| read.data))
    }
}
