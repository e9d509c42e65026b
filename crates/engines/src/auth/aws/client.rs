//! `config/client`: how STS and IAM are reached, and what is asked of signed requests.

use super::{Aws, headers, short, signed::is_region};
use crate::{auth::token_fields::present, aws::Federation};
use bailee_cloud::aws;
use bailee_sdk::{
    Error, Reply, Request, Sensitive, View,
    field::{CommaList, Flag, Integer, Ttl},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where it is stored.
const KEY: &str = "config/client";
/// The longest text of a field.
const FIELD_BYTES_MAX: usize = 2048;

/// The configuration, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Client {
    pub(super) access_key: String,
    #[serde(serialize_with = "exposed")]
    pub(super) secret_key: Sensitive<String>,
    /// Kept as given: nothing asks EC2 here.
    pub(super) endpoint: String,
    pub(super) iam_endpoint: String,
    pub(super) sts_endpoint: String,
    pub(super) sts_region: String,
    pub(super) use_sts_region_from_client: bool,
    pub(super) iam_server_id_header_value: String,
    /// In lower case.
    pub(super) allowed_sts_header_values: Vec<String>,
    /// -1 for as many as we think best.
    pub(super) max_retries: i64,
    /// Taken on before anything is asked of IAM; empty for none.
    pub(super) role_arn: String,
    /// Takes on `role_arn` with tokens of this server instead of keys.
    pub(super) federation: Federation,
}

impl Default for Client {
    fn default() -> Client {
        Client {
            access_key: String::new(),
            secret_key: Sensitive::default(),
            endpoint: String::new(),
            iam_endpoint: String::new(),
            sts_endpoint: String::new(),
            sts_region: String::new(),
            use_sts_region_from_client: false,
            iam_server_id_header_value: String::new(),
            allowed_sts_header_values: Vec::new(),
            max_retries: -1,
            role_arn: String::new(),
            federation: Federation::default(),
        }
    }
}

/// For storage alone.
fn exposed<S: Serializer>(secret: &Sensitive<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

impl Client {
    /// The configuration of a mount as it was set; an unconfigured one has the defaults.
    async fn of(view: &View) -> Result<Client, Error> {
        Ok(view.get(KEY).await?.unwrap_or_default())
    }

    /// The configuration in force: endpoints that the mount leaves open are the operator's.
    pub(super) async fn in_force(aws: &Aws, view: &View) -> Result<Client, Error> {
        let mut client = Client::of(view).await?;
        let operators = &aws.surroundings;
        if client.iam_endpoint.is_empty() {
            client.iam_endpoint = operators.iam_endpoint_url.clone().unwrap_or_default();
        }
        if client.sts_endpoint.is_empty() && !client.use_sts_region_from_client {
            client.sts_endpoint = operators.sts_endpoint_url.clone().unwrap_or_default();
        }
        Ok(client)
    }

    /// Times that a call is tried again which AWS did not answer.
    pub(super) fn retries(&self) -> u32 {
        const RETRIES: u32 = 2;
        const RETRIES_MAX: u32 = 5;
        u32::try_from(self.max_retries).map_or(RETRIES, |retries| retries.min(RETRIES_MAX))
    }

    /// Where a request is sent that was signed for this host and region: to an endpoint of ours.
    pub(super) fn sts_for(&self, host: &str, region: &str) -> Result<String, Error> {
        if !self.sts_endpoint.is_empty() {
            // The endpoint may be another way to the STS that clients sign for.
            let endpoint = self.sts_endpoint.trim_end_matches('/');
            return match host == authority(endpoint) || is_sts(host) {
                true => Ok(endpoint.to_owned()),
                false => Err(other_host(host, &authority(endpoint))),
            };
        }
        let region = match (self.use_sts_region_from_client, self.sts_region.as_str()) {
            (true, _) if !looks_like_aws(region) => {
                return Err(Error::invalid("the request is signed for no region of AWS"));
            }
            (true, _) => region,
            (false, "") => "us-east-1",
            (false, region) => region,
        };
        let regional = regional(region);
        let global = (region == "us-east-1").then(|| "sts.amazonaws.com".to_owned());
        let ours = [Some(regional.clone()), global];
        match ours.into_iter().flatten().find(|ours| ours == host) {
            Some(host) => Ok(format!("https://{host}")),
            None => Err(other_host(host, &regional)),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let long = [
            ("access_key", &self.access_key),
            ("endpoint", &self.endpoint),
            ("iam_endpoint", &self.iam_endpoint),
            ("sts_endpoint", &self.sts_endpoint),
            ("iam_server_id_header_value", &self.iam_server_id_header_value),
            ("role_arn", &self.role_arn),
        ];
        if let Some((field, _)) = long.iter().find(|(_, text)| text.len() > FIELD_BYTES_MAX) {
            return Err(Error::invalid(format!(
                "field {field:?} has more than {FIELD_BYTES_MAX} bytes"
            )));
        }
        if self.access_key.is_empty() != self.secret_key.expose().is_empty() {
            return Err(Error::invalid("access_key and secret_key must be set together"));
        }
        self.federation.check(&self.access_key, &self.role_arn)?;
        for (field, url) in
            [("iam_endpoint", &self.iam_endpoint), ("sts_endpoint", &self.sts_endpoint)]
        {
            check_endpoint(field, url)?;
        }
        if !self.sts_region.is_empty() && !is_region(&self.sts_region) {
            return Err(Error::invalid(
                "sts_region is not valid: want lowercase letters, digits and hyphens, as eu-west-1",
            ));
        }
        let fixed = !self.sts_endpoint.is_empty() || !self.sts_region.is_empty();
        if self.use_sts_region_from_client && fixed {
            return Err(Error::invalid(
                "use_sts_region_from_client goes with neither sts_endpoint nor sts_region: set those to \
                 \"\"",
            ));
        }
        let id = &self.iam_server_id_header_value;
        // Signatures do not tell one space from two.
        let plain = id.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !plain || id.trim() != id || id.contains("  ") {
            return Err(Error::invalid(
                "iam_server_id_header_value must be printable letters without extra spaces",
            ));
        }
        Ok(())
    }

    fn shown(&self) -> Value {
        json!({
            "access_key": self.access_key,
            "endpoint": self.endpoint,
            "iam_endpoint": self.iam_endpoint,
            "sts_endpoint": self.sts_endpoint,
            "sts_region": self.sts_region,
            "use_sts_region_from_client": self.use_sts_region_from_client,
            "iam_server_id_header_value": self.iam_server_id_header_value,
            "allowed_sts_header_values": self.allowed_sts_header_values,
            "max_retries": self.max_retries,
            "role_arn": self.role_arn,
            "identity_token_audience": self.federation.audience,
            "identity_token_ttl": self.federation.ttl_secs,
        })
    }
}

fn check_endpoint(field: &'static str, url: &str) -> Result<(), Error> {
    let given = aws::endpoint(field, &Some(url.to_owned()));
    given.map_err(|error| Error::invalid(error.to_string()))?;
    let bare = url
        .parse::<http::Uri>()
        .is_ok_and(|uri| matches!(uri.path(), "" | "/") && uri.query().is_none());
    if !url.is_empty() && !bare {
        let message = format!("{field} is not valid: want scheme, host and port, without a path");
        return Err(Error::invalid(message));
    }
    Ok(())
}

/// Host and port of an endpoint, in the form in which signed hosts are compared.
fn authority(endpoint: &str) -> String {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host).to_ascii_lowercase();
    let plain = host.strip_suffix(":443").or_else(|| host.strip_suffix(":80"));
    plain.unwrap_or(&host).to_owned()
}

/// Whether a region that a client chose can be one of AWS: words and a number, as `us-gov-west-1`. Other
/// labels before `amazonaws.com` lead to what customers put there, such as a bucket `sts` of S3.
fn looks_like_aws(region: &str) -> bool {
    let parts: Vec<&str> = region.split('-').collect();
    let [area, words @ .., number] = parts.as_slice() else { return false };
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    (2..=4).contains(&area.len())
        && word(area)
        && !words.is_empty()
        && words.iter().all(|text| word(text))
        && (1..=2).contains(&number.len())
        && digits(number)
}

fn regional(region: &str) -> String {
    let end = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("sts.{region}.amazonaws.com{end}")
}

/// Whether a host is one of STS, in whatever region.
fn is_sts(host: &str) -> bool {
    if host == "sts.amazonaws.com" {
        return true;
    }
    let region = host.strip_prefix("sts.").or_else(|| host.strip_prefix("sts-fips."));
    let region = region.and_then(|rest| {
        [".amazonaws.com.cn", ".amazonaws.com", ".api.aws"]
            .iter()
            .find_map(|end| rest.strip_suffix(end))
    });
    region.is_some_and(is_region)
}

fn other_host(signed: &str, ours: &str) -> Error {
    Error::invalid(format!(
        "the request is signed for {:?}, and this mount asks {ours:?}: sign for that one, or set \
         sts_endpoint, sts_region or use_sts_region_from_client in config/client",
        short(signed)
    ))
}

/// Changes to the configuration; what is left out stays.
#[derive(Deserialize, JsonSchema)]
pub(super) struct WriteClient {
    /// Identifier of the key with which IAM is asked; without keys the server's own credentials are
    /// used where the operator allows it.
    #[serde(default)]
    access_key: Option<String>,
    /// Secret of that key. Never shown again.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    secret_key: Option<Sensitive<String>>,
    /// Where EC2 is. Kept as given: nothing here asks EC2.
    #[serde(default)]
    endpoint: Option<String>,
    /// Where IAM is, instead of AWS's own address.
    #[serde(default)]
    iam_endpoint: Option<String>,
    /// Where STS is, instead of AWS's own address.
    #[serde(default)]
    sts_endpoint: Option<String>,
    /// The region whose STS is asked.
    #[serde(default)]
    sts_region: Option<String>,
    /// Whether STS of the region is asked that the client signed for.
    #[serde(default)]
    use_sts_region_from_client: Option<Flag>,
    /// The value that the header X-Vault-AWS-IAM-Server-ID must have, signed.
    #[serde(default)]
    iam_server_id_header_value: Option<String>,
    /// Headers that clients may sign beside the usual ones.
    #[serde(default, deserialize_with = "present")]
    allowed_sts_header_values: Option<CommaList>,
    /// Times that a call is tried again which AWS did not answer, up to 5; -1 for the default of 2.
    #[serde(default)]
    max_retries: Option<Integer>,
    /// A role that is taken on before IAM is asked.
    #[serde(default)]
    role_arn: Option<String>,
    /// Whom tokens are for with which `role_arn` is taken on, instead of with keys. The key that signs
    /// them is the mount's `identity_token_key`.
    #[serde(default)]
    identity_token_audience: Option<String>,
    /// How long such tokens hold; an hour unless said otherwise.
    #[serde(default)]
    identity_token_ttl: Option<Ttl>,
}

impl WriteClient {
    fn apply(self, client: &mut Client) -> Result<(), Error> {
        let set = |place: &mut String, given: Option<String>| {
            if let Some(given) = given {
                *place = given.trim().to_owned();
            }
        };
        set(&mut client.access_key, self.access_key);
        set(&mut client.endpoint, self.endpoint);
        set(&mut client.iam_endpoint, self.iam_endpoint);
        set(&mut client.sts_endpoint, self.sts_endpoint);
        set(&mut client.sts_region, self.sts_region);
        set(&mut client.role_arn, self.role_arn);
        set(&mut client.federation.audience, self.identity_token_audience);
        if let Some(Ttl(ttl)) = self.identity_token_ttl {
            client.federation.ttl_secs = ttl.as_secs();
        }
        if let Some(secret) = self.secret_key {
            client.secret_key = secret;
        }
        if let Some(id) = self.iam_server_id_header_value {
            client.iam_server_id_header_value = id;
        }
        if let Some(Flag(flag)) = self.use_sts_region_from_client {
            client.use_sts_region_from_client = flag;
        }
        if let Some(Integer(retries)) = self.max_retries {
            client.max_retries = retries;
        }
        if let Some(CommaList(names)) = self.allowed_sts_header_values {
            client.allowed_sts_header_values = headers::allowable(names)?;
        }
        client.check()
    }
}

pub(super) async fn write(aws: Arc<Aws>, request: Request<WriteClient>) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    request.view.lock(KEY).await;
    let mut client = Client::of(&request.view).await?;
    input.apply(&mut client)?;
    client.federation.check_tokens(&aws.issuer, request.view.prefix()).await?;
    request.view.put(KEY, &client);
    Ok(Reply::empty())
}

pub(super) async fn read(
    _: Arc<Aws>,
    request: Request<bailee_sdk::Nothing>,
) -> Result<Reply, Error> {
    let client: Option<Client> = request.view.get(KEY).await?;
    Ok(Reply::data(&client.ok_or_else(Error::not_found)?.shown()))
}

pub(super) async fn delete(
    _: Arc<Aws>,
    request: Request<bailee_sdk::Nothing>,
) -> Result<Reply, Error> {
    request.view.delete(KEY);
    Ok(Reply::empty())
}

pub(super) async fn exists(
    _: Arc<Aws>,
    request: Request<bailee_sdk::Nothing>,
) -> Result<bool, Error> {
    Ok(request.view.get::<Client>(KEY).await?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sts(client: &Client, host: &str, region: &str) -> Option<String> {
        client.sts_for(host, region).ok()
    }

    #[test]
    fn requests_go_to_the_sts_of_the_mount_and_never_to_the_clients() {
        let default = Client::default();
        for host in ["sts.amazonaws.com", "sts.us-east-1.amazonaws.com"] {
            assert_eq!(sts(&default, host, "us-east-1"), Some(format!("https://{host}")));
        }
        for host in
            ["sts.eu-west-1.amazonaws.com", "evil.example", "sts.amazonaws.com.evil.example"]
        {
            assert_eq!(sts(&default, host, "us-east-1"), None, "{host}");
        }
        let regional = Client { sts_region: "cn-north-1".to_owned(), ..Client::default() };
        let china = "sts.cn-north-1.amazonaws.com.cn";
        assert_eq!(sts(&regional, china, "cn-north-1"), Some(format!("https://{china}")));
        assert_eq!(sts(&regional, "sts.amazonaws.com", "us-east-1"), None);
        let by_client = Client { use_sts_region_from_client: true, ..Client::default() };
        let paris = "sts.eu-west-3.amazonaws.com";
        assert_eq!(sts(&by_client, paris, "eu-west-3"), Some(format!("https://{paris}")));
        assert_eq!(sts(&by_client, paris, "us-east-1"), None);
        assert_eq!(sts(&by_client, "evil.example", "eu-west-3"), None);
    }

    #[test]
    fn an_endpoint_of_our_own_takes_what_is_signed_for_it_or_for_sts() {
        let url = "https://vpce-1.sts.eu-west-1.vpce.amazonaws.com".to_owned();
        let client = Client { sts_endpoint: url.clone(), ..Client::default() };
        for host in [
            "vpce-1.sts.eu-west-1.vpce.amazonaws.com",
            "sts.amazonaws.com",
            "sts.eu-west-1.amazonaws.com",
            "sts-fips.us-west-2.amazonaws.com",
            "sts.eu-west-1.api.aws",
        ] {
            assert_eq!(sts(&client, host, "eu-west-1").as_ref(), Some(&url), "{host}");
        }
        for host in
            ["evil.example", "sts.evil.example", "sts.a.b.amazonaws.com", "sts..amazonaws.com"]
        {
            assert_eq!(sts(&client, host, "eu-west-1"), None, "{host}");
        }
        let local =
            Client { sts_endpoint: "http://127.0.0.1:4566/".to_owned(), ..Client::default() };
        assert_eq!(sts(&local, "127.0.0.1:4566", "x"), Some("http://127.0.0.1:4566".to_owned()));
    }

    #[test]
    fn a_client_that_chooses_the_region_chooses_one_of_aws() {
        let client = Client { use_sts_region_from_client: true, ..Client::default() };
        for region in ["eu-west-3", "us-gov-west-1", "ap-southeast-12", "eusc-de-east-1"] {
            let host = format!("sts.{region}.amazonaws.com");
            assert_eq!(sts(&client, &host, region), Some(format!("https://{host}")), "{region}");
        }
        for region in
            ["s3", "s3-website-us-east-1", "us-east", "website-us-east-1", "a-b-1", "us-1"]
        {
            let host = format!("sts.{region}.amazonaws.com");
            assert_eq!(sts(&client, &host, region), None, "{region}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refusal = |client: Client| client.check().unwrap_err().to_string();
        let text = |text: &str| text.to_owned();
        for (client, field) in [
            (Client { access_key: text("AKIA"), ..Client::default() }, "set together"),
            (Client { sts_endpoint: text("sts"), ..Client::default() }, "sts_endpoint"),
            (Client { sts_endpoint: text("ftp://a"), ..Client::default() }, "sts_endpoint"),
            (Client { sts_endpoint: text("http://a/b"), ..Client::default() }, "sts_endpoint"),
            (Client { sts_endpoint: text("http://a/?b"), ..Client::default() }, "sts_endpoint"),
            (Client { iam_endpoint: text("http://u:p@a"), ..Client::default() }, "iam_endpoint"),
            (Client { sts_region: text("evil.example/"), ..Client::default() }, "sts_region"),
            (Client { iam_server_id_header_value: text("a  b"), ..Client::default() }, "spaces"),
            (Client { iam_server_id_header_value: text(" a"), ..Client::default() }, "spaces"),
            (
                Client {
                    use_sts_region_from_client: true,
                    sts_region: text("eu-west-1"),
                    ..Client::default()
                },
                "use_sts_region_from_client",
            ),
        ] {
            let text = refusal(client);
            assert!(text.contains(field), "{field}: {text}");
        }
        Client::default().check().unwrap();
    }

    /// What storage holds since the first release. A new form is added beside it, never instead.
    #[test]
    fn what_is_stored_keeps_its_form() {
        let stored = json!({
            "access_key": "AKIA", "secret_key": "canary", "endpoint": "", "iam_endpoint": "",
            "sts_endpoint": "", "sts_region": "eu-west-1", "use_sts_region_from_client": false,
            "iam_server_id_header_value": "v", "allowed_sts_header_values": ["x-a"], "max_retries": -1,
        });
        let client: Client = serde_json::from_value(stored.clone()).unwrap();
        let mut with_roles = stored;
        with_roles["role_arn"] = json!("");
        with_roles["federation"] = json!({ "audience": "", "ttl_secs": 0 });
        assert_eq!(serde_json::to_value(&client).unwrap(), with_roles);
        assert!(!format!("{client:?}").contains("canary"));
        assert!(!client.shown().to_string().contains("canary"));
    }
}
