//! `sys/config/cors` and `sys/config/ui/headers`: what the HTTP server does with browsers.

use super::{Nothing, System};
use arc_swap::ArcSwap;
use bailee_barrier::{Barrier, View};
use bailee_sdk::{
    Body, Error, Json, Operation, Path, Reply, Request,
    field::{CommaList, Flag},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// Where the rules for other origins are kept.
const CORS_KEY: &str = "core/cors";
/// Where the headers of web pages are kept.
const HEADERS_KEY: &str = "core/ui-headers";
/// Origins, or headers, that can be named.
const ENTRIES_MAX: usize = 100;
/// Bytes that one of them may have.
const TEXT_BYTES_MAX: usize = 4096;
/// Headers that pages of other origins may always send.
const HEADERS: [&str; 10] = [
    "Content-Type",
    "X-Requested-With",
    "X-Vault-AWS-IAM-Server-ID",
    "X-Vault-MFA",
    "X-Vault-No-Request-Forwarding",
    "X-Vault-Wrap-Format",
    "X-Vault-Wrap-TTL",
    "X-Vault-Policy-Override",
    "Authorization",
    "X-Vault-Token",
];

/// Which pages of other origins may call the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Whether any may.
    pub enabled: bool,
    /// Their origins, or `*` alone.
    pub allowed_origins: Vec<String>,
    /// Headers they may send.
    pub allowed_headers: Vec<String>,
}

impl Cors {
    /// Whether pages of an origin may call.
    pub fn allows(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin))
    }
}

/// Headers that web pages are sent with.
pub type PageHeaders = BTreeMap<String, Vec<String>>;

/// What the HTTP server does with browsers, as of now.
pub(crate) struct Web {
    pub(crate) cors: ArcSwap<Cors>,
    pub(crate) headers: ArcSwap<PageHeaders>,
    /// Held while something is stored and becomes what holds.
    changing: tokio::sync::Mutex<()>,
}

impl Web {
    pub(crate) async fn load(barrier: &Arc<Barrier>) -> Result<Arc<Web>, Error> {
        let view = barrier.view("");
        Ok(Arc::new(Web {
            cors: ArcSwap::from_pointee(stored(&view, CORS_KEY).await?),
            headers: ArcSwap::from_pointee(stored(&view, HEADERS_KEY).await?),
            changing: tokio::sync::Mutex::default(),
        }))
    }
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Web(..)")
    }
}

async fn stored<T: DeserializeOwned + Default>(view: &View, key: &str) -> Result<T, Error> {
    Ok(view.get(key).await?.unwrap_or_default())
}

pub(super) fn paths(system: &Arc<System>) -> Vec<Path> {
    vec![
        Path::new("config/cors")
            .on(Operation::Read, system, "Tell which other origins may call.", System::read_cors)
            .on(Operation::Update, system, "Let pages of other origins call.", System::write_cors)
            .on(Operation::Delete, system, "Let no other origin call.", System::delete_cors)
            .sudo()
            .root_only(),
        Path::new("config/ui/headers")
            .on(Operation::List, system, "List the headers of web pages.", System::list_headers)
            .sudo()
            .root_only(),
        Path::new("config/ui/headers/{header}")
            .on(Operation::Read, system, "Read a header of web pages.", System::read_header)
            .on(Operation::Update, system, "Set a header of web pages.", System::write_header)
            .on(Operation::Delete, system, "Remove a header of web pages.", System::delete_header)
            .sudo()
            .ignores_case()
            .root_only(),
    ]
}

#[derive(Deserialize, JsonSchema)]
struct WriteCors {
    /// Whether pages of other origins may call; they may unless this is false.
    #[serde(default)]
    enable: Option<Flag>,
    /// Another name of `enable`.
    #[serde(default)]
    enabled: Option<Flag>,
    /// Their origins, such as `https://app.example.com`, or `*` alone.
    #[serde(default)]
    allowed_origins: CommaList,
    /// Headers they may send beside the usual ones.
    #[serde(default)]
    allowed_headers: CommaList,
}

#[derive(Deserialize, JsonSchema)]
struct ReadHeader {
    /// Name of the header.
    header: String,
    /// Answers with all values.
    #[serde(default)]
    multivalue: Flag,
}

#[derive(Deserialize, JsonSchema)]
struct WriteHeader {
    /// Name of the header.
    header: String,
    /// Its values.
    #[serde(default)]
    values: CommaList,
    /// Kept as given.
    #[serde(default, rename = "multivalue")]
    _multivalue: Flag,
}

impl System {
    async fn read_cors(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let cors = self.web.cors.load_full();
        if cors.enabled {
            return Ok(Reply::data(&*cors));
        }
        Ok(Reply::data(&json!({ "enabled": false })))
    }

    async fn write_cors(self: Arc<Self>, request: Request<WriteCors>) -> Result<Reply, Error> {
        let input = request.input;
        if input.enable.or(input.enabled).is_some_and(|enable| !enable.0) {
            self.land_cors(Cors::default()).await?;
            return Ok(Reply::empty());
        }
        let origins = input.allowed_origins.0;
        if origins.is_empty() {
            return Err(multi("at least one origin or the wildcard must be provided"));
        }
        if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
            return Err(multi(
                "to allow all origins the '*' must be the only value for allowed_origins",
            ));
        }
        check_size("allowed_origins", &origins)?;
        check_size("allowed_headers", &input.allowed_headers.0)?;
        let mut headers: Vec<String> = HEADERS.map(str::to_owned).to_vec();
        for header in input.allowed_headers.0 {
            check_name(&header)?;
            if !headers.iter().any(|known| known.eq_ignore_ascii_case(&header)) {
                headers.push(header);
            }
        }
        check_values("allowed_origins", &origins)?;
        let cors = Cors { enabled: true, allowed_origins: origins, allowed_headers: headers };
        self.land_cors(cors).await?;
        Ok(Reply::empty())
    }

    async fn delete_cors(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        self.land_cors(Cors::default()).await?;
        Ok(Reply::empty())
    }

    /// Stores and then serves by it. A task of its own: a client that goes away meanwhile must not
    /// leave the server behind its storage.
    async fn land_cors(self: &Arc<Self>, cors: Cors) -> Result<(), Error> {
        let system = self.clone();
        let work = tokio::spawn(async move {
            let _alone = system.web.changing.lock().await;
            let view = system.barrier.view("");
            view.put(CORS_KEY, &cors);
            let outcome = view.commit().await;
            // One that failed may have landed all the same.
            let now = stored(&system.barrier.view(""), CORS_KEY).await;
            system.web.cors.store(Arc::new(now?));
            Ok(outcome.map(|_| ())?)
        });
        work.await.map_err(Error::internal)?
    }

    async fn list_headers(self: Arc<Self>, _request: Request<Nothing>) -> Result<Reply, Error> {
        let names: Vec<String> = self.web.headers.load().keys().cloned().collect();
        Reply::keys(&names)
    }

    async fn read_header(self: Arc<Self>, request: Request<ReadHeader>) -> Result<Reply, Error> {
        let headers = self.web.headers.load_full();
        let values = headers.get(&canonical(&request.input.header)).ok_or_else(Error::not_found)?;
        if request.input.multivalue.0 {
            return Ok(Reply::data(&json!({ "values": values })));
        }
        Ok(Reply::data(&json!({ "value": values.first() })))
    }

    async fn write_header(self: Arc<Self>, request: Request<WriteHeader>) -> Result<Reply, Error> {
        let WriteHeader { header, values, .. } = request.input;
        check_name(&header)?;
        let name = canonical(&header);
        if name.starts_with("X-Vault-") {
            return Err(Error::invalid("X-Vault headers cannot be set"));
        }
        if values.0.is_empty() {
            return Err(Error::invalid("header values cannot be empty"));
        }
        check_size("values", &values.0)?;
        check_values("values", &values.0)?;
        self.land_header(name, Some(values.0)).await?;
        // An answer with nothing in it, as clients of this endpoint know it.
        Ok(Body::Data(Json::of(&Value::Null)).into())
    }

    async fn delete_header(self: Arc<Self>, request: Request<ReadHeader>) -> Result<Reply, Error> {
        self.land_header(canonical(&request.input.header), None).await?;
        Ok(Reply::empty())
    }

    async fn land_header(
        self: &Arc<Self>,
        name: String,
        values: Option<Vec<String>>,
    ) -> Result<(), Error> {
        let system = self.clone();
        let work = tokio::spawn(async move {
            let _alone = system.web.changing.lock().await;
            let mut headers = PageHeaders::clone(&system.web.headers.load());
            match values {
                Some(values) => headers.insert(name, values),
                None => headers.remove(&name),
            };
            if headers.len() > ENTRIES_MAX {
                let message = format!("no more than {ENTRIES_MAX} headers can be set");
                return Err(Error::invalid(message));
            }
            let view = system.barrier.view("");
            view.put(HEADERS_KEY, &headers);
            let outcome = view.commit().await;
            let now = stored(&system.barrier.view(""), HEADERS_KEY).await;
            system.web.headers.store(Arc::new(now?));
            Ok(outcome.map(|_| ())?)
        });
        work.await.map_err(Error::internal)?
    }
}

fn multi(text: &str) -> Error {
    Error::invalid(format!("1 error occurred:\n\t* {text}\n\n"))
}

fn check_size(field: &str, texts: &[String]) -> Result<(), Error> {
    if texts.len() > ENTRIES_MAX || texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(Error::invalid(format!(
            "{field} has more than {ENTRIES_MAX} entries, or one of more than {TEXT_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

fn check_values(field: &str, texts: &[String]) -> Result<(), Error> {
    let is_plain = |text: &String| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if texts.iter().all(is_plain) {
        return Ok(());
    }
    Err(Error::invalid(format!("{field} may hold printable ASCII characters only")))
}

fn check_name(name: &str) -> Result<(), Error> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !name.is_empty() && name.len() <= 256 && name.bytes().all(is_token) {
        return Ok(());
    }
    Err(Error::invalid("the name of a header is made of letters, digits and dashes"))
}

/// The name as HTTP writes it: `X-Custom`.
fn canonical(name: &str) -> String {
    let mut upper = true;
    name.chars()
        .map(|letter| {
            let shown =
                if upper { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() };
            upper = letter == '-';
            shown
        })
        .collect()
}
