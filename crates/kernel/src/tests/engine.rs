//! Small engines that do what the pipeline must handle.

use async_trait::async_trait;
use bailee_sdk::{
    Body, Engine, EngineKind, Error, Issuer, Login, Operation, Path, Reply, Request, Setup,
    TokenType, View,
    engine::{Class, Renewal},
    field::{CommaList, Flag, Integer, KeyValues},
    request::LoginAlias,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

pub(super) fn kinds() -> Vec<EngineKind> {
    let make = |setup: &Setup| -> Result<Arc<dyn Engine>, Error> {
        match setup.options.get("version").map(String::as_str) {
            None | Some("1" | "2") => Ok(Arc::new(Boxes(setup.issuer.clone()))),
            Some(other) => Err(Error::invalid(format!("unknown version {other:?}"))),
        }
    };
    vec![
        EngineKind { name: "kv", class: Class::Secret, make: Arc::new(make) },
        EngineKind { name: "boxes", class: Class::Secret, make: Arc::new(make) },
        EngineKind { name: "door", class: Class::Auth, make: Arc::new(|_| Ok(Arc::new(Door))) },
    ]
}

/// Keeps values in boxes.
struct Boxes(Arc<dyn Issuer>);

#[derive(Deserialize, JsonSchema)]
struct AtPath {
    path: String,
}

#[derive(Deserialize, JsonSchema)]
struct For {
    audience: String,
}

#[derive(Deserialize, JsonSchema)]
struct Put {
    path: String,
    value: Value,
    /// Sync is told.
    #[serde(default)]
    tell: Flag,
    /// Refused after the write.
    #[serde(default)]
    refuse: Flag,
    /// Answered after the commit.
    #[serde(default)]
    wait: Flag,
    /// Lets others go first that often, before it ends.
    #[serde(default)]
    pause: Integer,
}

impl Boxes {
    async fn read(self: Arc<Self>, request: Request<AtPath>) -> Result<Reply, Error> {
        let value: Option<Value> = request.view.names("box").get(&request.input.path).await?;
        Ok(Reply::data(&json!({ "value": value.ok_or_else(Error::not_found)? })))
    }

    async fn exists(self: Arc<Self>, request: Request<AtPath>) -> Result<bool, Error> {
        let value: Option<Value> = request.view.names("box").get(&request.input.path).await?;
        Ok(value.is_some())
    }

    async fn write(self: Arc<Self>, request: Request<Put>) -> Result<Reply, Error> {
        let input = &request.input;
        request.view.names("box").put(&input.path, &input.value).await?;
        if input.tell.0 {
            request.changed(&input.path);
        }
        for _ in 0..input.pause.0 {
            tokio::task::yield_now().await;
        }
        if input.refuse.0 {
            return Err(Error::invalid("refused after the write"));
        }
        if input.wait.0 {
            let view = request.view.fresh();
            let path = input.path.clone();
            return Ok(Body::After(Box::pin(async move {
                let landed: Option<Value> = view.names("box").get(&path).await?;
                Ok(Reply::data(&json!({ "landed": landed })).warn("waited"))
            }))
            .into());
        }
        Ok(Reply::empty())
    }

    async fn delete(self: Arc<Self>, request: Request<AtPath>) -> Result<Reply, Error> {
        request.view.names("box").delete(&request.input.path).await?;
        Ok(Reply::empty())
    }

    async fn list(self: Arc<Self>, request: Request<AtPath>) -> Result<Reply, Error> {
        let names = request.view.names("box");
        Reply::keys(&names.list(&request.input.path, "", 100).await?)
    }

    /// Adds one without a lock: racers conflict.
    async fn count(self: Arc<Self>, request: Request<AtPath>) -> Result<Reply, Error> {
        let key = "count";
        let (count, revision) = match request.view.get_at::<u64>(key).await? {
            Some((count, revision)) => (count, revision),
            None => (0, None),
        };
        tokio::task::yield_now().await;
        match revision {
            Some(revision) => request.view.expect(key, revision),
            None => request.view.expect_absent(key),
        }
        request.view.put(key, &(count + 1));
        Ok(Reply::data(&json!({ "count": count + 1 })))
    }

    async fn panic(self: Arc<Self>, _request: Request<AtPath>) -> Result<Reply, Error> {
        panic!("as asked");
    }

    /// A token that says who the mount is.
    async fn token(self: Arc<Self>, request: Request<For>) -> Result<Reply, Error> {
        let (prefix, audience) = (request.view.prefix(), &request.input.audience);
        let token = self.0.token(prefix, audience, Duration::from_secs(900)).await?;
        Ok(Reply::data(&json!({ "token": token.expose() })))
    }

    /// What the caller is told about itself.
    async fn whoami(self: Arc<Self>, request: Request<AtPath>) -> Result<Reply, Error> {
        let may = |operation| {
            let path = &request.input.path;
            request.caller.as_ref().is_some_and(|caller| (caller.may)(operation, path))
        };
        let mounts: Vec<_> = request.mounts.0.iter().map(|mount| mount.path.clone()).collect();
        Ok(Reply::data(&json!({
            "read": may(Operation::Read),
            "update": may(Operation::Update),
            "namespace": request.namespace.path,
            "mounts": mounts,
        })))
    }
}

impl Engine for Boxes {
    fn paths(self: Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("box/{path...}")
                .on(Operation::Read, &self, "Look into a box", Boxes::read)
                .on(Operation::Update, &self, "Fill a box", Boxes::write)
                .on(Operation::Delete, &self, "Throw a box away", Boxes::delete)
                .exists(&self, Boxes::exists),
            Path::new("token").on(Operation::Update, &self, "Say who the mount is", Boxes::token),
            Path::new("boxes/{path...?}").on(Operation::List, &self, "List boxes", Boxes::list),
            Path::new("count/{path}").on(Operation::Update, &self, "Count", Boxes::count),
            Path::new("panic/{path}").on(Operation::Update, &self, "Panic", Boxes::panic),
            Path::new("whoami/{path...}").on(Operation::Read, &self, "Tell", Boxes::whoami),
            Path::new("root-only/{path}")
                .on(Operation::Read, &self, "Tell", Boxes::whoami)
                .root_only(),
            Path::new("guarded/{path}").on(Operation::Read, &self, "Tell", Boxes::whoami).sudo(),
        ]
    }
}

/// Lets everyone in.
struct Door;

#[derive(Deserialize, JsonSchema)]
struct Enter {
    policy: String,
    #[serde(default)]
    refuse: Flag,
    /// Who comes in; nobody in particular when empty.
    #[serde(default)]
    user: String,
    /// What the door knows of them.
    #[serde(default)]
    known: KeyValues,
    /// Groups they belong to, as the door knows them.
    #[serde(default)]
    groups: CommaList,
}

impl Door {
    async fn login(self: Arc<Self>, request: Request<Enter>) -> Result<Reply, Error> {
        if request.input.refuse.0 {
            return Err(Error::invalid("the door is shut"));
        }
        let login = Login {
            display_name: "guest".to_owned(),
            policies: vec![request.input.policy.clone()],
            ttl: Duration::from_secs(600),
            renewable: true,
            alias: (!request.input.user.is_empty()).then(|| LoginAlias {
                name: request.input.user.clone(),
                metadata: request.input.known.0.clone(),
            }),
            group_aliases: request.input.groups.0.clone(),
            ..Login::default()
        };
        request.view.put("last", &request.input.policy);
        Ok(Body::Login(Box::new(login)).into())
    }
}

#[derive(Deserialize, JsonSchema)]
struct Seconds {
    seconds: Integer,
}

#[derive(Deserialize, JsonSchema)]
struct Knock {
    user: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    bound_cidrs: Vec<String>,
}

impl Door {
    async fn renewed_for(self: Arc<Self>, request: Request<Seconds>) -> Result<Reply, Error> {
        request.view.put("renewed-for", &request.input.seconds.0);
        Ok(Reply::empty())
    }

    /// Everyone whose name starts with `a` is known; the password is `open`.
    async fn knock(self: Arc<Self>, request: Request<Knock>) -> Result<Reply, Error> {
        let input = &request.input;
        tokio::task::yield_now().await;
        if input.password != "open" {
            return Err(if input.user.starts_with('a') {
                Error::bad_credentials("invalid username or password")
            } else {
                Error::unknown_user("invalid username or password")
            });
        }
        let login = Login {
            display_name: input.user.clone(),
            policies: vec!["default".to_owned()],
            ttl: Duration::from_secs(600),
            renewable: true,
            bound_cidrs: input.bound_cidrs.clone(),
            token_type: match input.token_type.as_str() {
                "batch" => TokenType::Batch,
                _ => TokenType::Default,
            },
            ..Login::default()
        };
        Ok(Body::Login(Box::new(login)).into())
    }
}

#[async_trait]
impl Engine for Door {
    /// As `renewed-for` was told; 0 shuts everyone out.
    async fn renew_login(&self, view: &View, _: &Renewal) -> Result<Option<Login>, Error> {
        match view.get::<u64>("renewed-for").await? {
            Some(0) => Err(Error::invalid("the door is shut for you")),
            Some(seconds) => {
                Ok(Some(Login { ttl: Duration::from_secs(seconds), ..Login::default() }))
            }
            None => Ok(None),
        }
    }

    fn paths(self: Arc<Self>) -> Vec<Path> {
        vec![
            Path::new("login/{user}")
                .on(Operation::Update, &self, "Knock", Door::knock)
                .login_alias(|input| input.get("user")?.as_str().map(str::to_owned))
                .unauthenticated(),
            Path::new("renewed-for/{seconds}").on(
                Operation::Update,
                &self,
                "Decide for how long",
                Door::renewed_for,
            ),
            Path::new("login")
                .on(Operation::Update, &self, "Come in", Door::login)
                .unauthenticated(),
        ]
    }
}
