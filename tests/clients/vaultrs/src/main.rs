//! vaultrs, unchanged, against a server of ours: logins, KV, wrapping, tokens. It has no calls for
//! leases.
//!
//! usage: vaultrs-walk ADDRESS      (the root token comes on standard input)

use std::{collections::HashMap, io::stdin};
use vaultrs::{
    api::{
        auth::{approle::requests::SetAppRoleRequest, userpass::requests::CreateUserRequest},
        kv2::requests::SetSecretRequestOptions,
        sys::requests::{EnableEngineRequest, ListMountsRequest},
        token::requests::CreateTokenRequest,
        ResponseWrapper,
    },
    auth::{approle, userpass},
    client::{VaultClient, VaultClientSettingsBuilder},
    error::ClientError,
    kv1, kv2, sys, token,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let address = std::env::args().nth(1).ok_or("usage: vaultrs-walk ADDRESS")?;
    let mut line = String::new();
    stdin().read_line(&mut line)?;
    let client = |token: &str| -> Outcome<VaultClient> {
        let mut settings = VaultClientSettingsBuilder::default();
        Ok(VaultClient::new(settings.address(&address).token(token).build()?)?)
    };
    let root = client(line.trim())?;
    let health = sys::health(&root).await?;
    assert!(health.initialized && !health.sealed, "the server is open");

    mounts_and_policies(&root).await?;
    let person = client(&log_in_with_password(&root, &client("")?).await?)?;
    let machine = client(&log_in_with_role(&root, &client("")?).await?)?;
    secrets(&person, &machine).await?;
    wrapping(&root, &client).await?;
    tokens(&root, &client).await?;

    for path in ["rs-v1", "rs-v2"] {
        sys::mount::disable(&root, path).await?;
    }
    for path in ["rs-people", "rs-roles"] {
        sys::auth::disable(&root, path).await?;
    }
    println!("vaultrs is content");
    Ok(())
}

async fn mounts_and_policies(root: &VaultClient) -> Outcome<()> {
    let mut versioned = EnableEngineRequest::builder();
    versioned.options(HashMap::from([("version".to_owned(), "2".to_owned())]));
    sys::mount::enable(root, "rs-v2", "kv", Some(&mut versioned)).await?;
    sys::mount::enable(root, "rs-v1", "kv", None).await?;
    assert!(sys::mount::list(root).await?.contains_key("rs-v2/"), "it is mounted");
    let rules = r#"path "rs-v*" { capabilities = ["create", "read", "update", "delete", "list"] }"#;
    sys::policy::set(root, "rs-app", rules).await?;
    assert_eq!(sys::policy::read(root, "rs-app").await?.rules, rules);
    assert!(sys::policy::list(root).await?.policies.contains(&"rs-app".to_owned()));
    Ok(())
}

async fn log_in_with_password(root: &VaultClient, nobody: &VaultClient) -> Outcome<String> {
    sys::auth::enable(root, "rs-people", "userpass", None).await?;
    let mut user = CreateUserRequest::builder();
    user.token_policies(vec!["rs-app".to_owned()]);
    userpass::user::set(root, "rs-people", "eve", "p4ss", Some(&mut user)).await?;
    let login = userpass::login(nobody, "rs-people", "eve", "p4ss").await?;
    assert!(login.renewable && login.policies.contains(&"rs-app".to_owned()), "{login:?}");
    assert_refused(userpass::login(nobody, "rs-people", "eve", "wrong").await, 400);
    Ok(login.client_token)
}

async fn log_in_with_role(root: &VaultClient, nobody: &VaultClient) -> Outcome<String> {
    sys::auth::enable(root, "rs-roles", "approle", None).await?;
    let mut role = SetAppRoleRequest::builder();
    role.token_policies(vec!["rs-app".to_owned()]).secret_id_num_uses(1_u64);
    approle::role::set(root, "rs-roles", "ci", Some(&mut role)).await?;
    assert_eq!(approle::role::list(root, "rs-roles").await?.keys, ["ci"]);
    let role_id = approle::role::read_id(root, "rs-roles", "ci").await?.role_id;
    let secret = approle::role::secret::generate(root, "rs-roles", "ci", None).await?;
    let login = approle::login(nobody, "rs-roles", &role_id, &secret.secret_id).await?;
    assert_refused(approle::login(nobody, "rs-roles", &role_id, &secret.secret_id).await, 400);
    Ok(login.client_token)
}

async fn secrets(person: &VaultClient, machine: &VaultClient) -> Outcome<()> {
    let data = HashMap::from([("user", "a"), ("password", "ü")]);
    let made = kv2::set(person, "rs-v2", "app/db", &data).await?;
    assert_eq!(made.version, 1);
    let held: HashMap<String, String> = kv2::read(machine, "rs-v2", "app/db").await?;
    assert_eq!(held["password"], "ü");
    let late = SetSecretRequestOptions { cas: 0 };
    assert_refused(kv2::set_with_options(person, "rs-v2", "app/db", &data, late).await, 400);
    assert_eq!(kv2::list(machine, "rs-v2", "").await?, ["app/"]);
    kv2::delete_latest(person, "rs-v2", "app/db").await?;
    kv2::undelete_versions(person, "rs-v2", "app/db", vec![1]).await?;
    assert_eq!(kv2::read_metadata(person, "rs-v2", "app/db").await?.current_version, 1);
    kv1::set(person, "rs-v1", "one", &HashMap::from([("a", "1")])).await?;
    let raw = kv1::get_raw(machine, "rs-v1", "one").await?;
    assert_eq!((raw.data["a"].as_str(), raw.lease_duration), (Some("1"), 2_764_800));
    assert_eq!(kv1::list(machine, "rs-v1", "").await?.data.keys, ["one"]);
    assert_refused(kv1::get_raw(machine, "rs-v1", "none").await, 404);
    Ok(())
}

async fn wrapping(
    root: &VaultClient,
    client: &impl Fn(&str) -> Outcome<VaultClient>,
) -> Outcome<()> {
    let wrapped = ListMountsRequest::builder().build()?.wrap(root).await?;
    let looked = wrapped.lookup(root).await?;
    assert_eq!(looked.creation_path, "sys/mounts");
    let mounts: HashMap<String, serde_json::Value> =
        sys::wrapping::unwrap(&client(&wrapped.info.token)?, None).await?;
    assert!(mounts.contains_key("rs-v2/"), "the mounts are in it");
    assert!(wrapped.unwrap(root).await.is_err(), "it is unwrapped once");
    Ok(())
}

async fn tokens(
    root: &VaultClient,
    client: &impl Fn(&str) -> Outcome<VaultClient>,
) -> Outcome<()> {
    let mut wish = CreateTokenRequest::builder();
    wish.policies(vec!["rs-app".to_owned()]).ttl("1h").renewable(true);
    let made = token::new(root, Some(&mut wish)).await?;
    let own = client(&made.client_token)?;
    assert_eq!(token::lookup_self(&own).await?.policies, ["default", "rs-app"]);
    assert!(token::renew_self(&own, Some("2h")).await?.lease_duration > 3600);
    token::revoke_accessor(root, &made.accessor).await?;
    assert_refused(token::lookup_self(&own).await, 403);
    Ok(())
}

fn assert_refused<T>(outcome: Result<T, ClientError>, status: u16) {
    match outcome {
        Err(ClientError::APIError { code, .. }) => assert_eq!(code, status),
        Err(error) => panic!("refused in another way: {error}"),
        Ok(_) => panic!("not refused, {status} was expected"),
    }
}
