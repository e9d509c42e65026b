//! Where secrets come from, and as whom they are read.

use crate::world::{World, counts};
use bailee_fake_clouds::FakeAws;
use bailee_testkit::{Api, Options, TestServer, free_port};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_sealed_and_a_token_that_has_ended_are_told() {
    let mut world = World::connected().await;
    world.write("a", json!({ "n": 1 })).await;
    world.runs().await;
    let api = world.server.api().clone();
    api.with_token(&world.token).post("auth/token/revoke-self", json!({})).await.done();
    let ended = world.replicate(&["run", "-config=replicate.hcl", "-output=sample"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let told: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        (&told["status"], &told["err"]["failure"]),
        (&json!("ERROR"), &json!("unauthenticated"))
    );
    assert!(told["message"].as_str().unwrap().contains("expired, or was revoked"), "{told}");
    assert!(!ended.out.contains(&world.token) && !ended.err.contains(&world.token));

    world.token = world.reader("apps").await;
    world.replicate(&["connect", "-config=replicate.hcl"]).await;
    assert!(world.runs().await.contains("1 unchanged"));
    api.put("sys/seal", json!({})).await.done();
    let ended = world.run().await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.out.contains("sealed"), "{ended:?}");
    world.server.unseal().await;
    assert!(world.runs().await.contains("1 unchanged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_namespaces_folders_and_engines_without_versions_are_served() {
    let world = World::connected().await;
    let api = world.server.api();
    api.put("sys/namespaces/team", json!({})).await.done();
    let team = api.in_namespace("team");
    team.put("sys/mounts/kv2", json!({ "type": "kv", "options": { "version": "2" } })).await.done();
    team.put("sys/mounts/kv1", json!({ "type": "kv" })).await.done();
    for path in ["in/a", "in/deep/b", "out/c"] {
        team.put(&format!("kv2/data/{path}"), json!({ "data": { "n": path } })).await.done();
    }
    team.put("kv1/old/d", json!({ "n": "one" })).await.done();
    team.put("sys/auth/approle", json!({ "type": "approle" })).await.done();
    let policy = "path \"kv2/*\" { capabilities = [\"read\", \"list\", \"scan\"] }\n\
                  path \"kv1/*\" { capabilities = [\"read\", \"list\"] }";
    team.put("sys/policies/acl/reader", json!({ "policy": policy })).await.done();
    let role = json!({ "token_policies": "reader", "token_ttl": "5m" });
    team.put("auth/approle/role/replicate", role).await.done();
    let role_id = team.get("auth/approle/role/replicate/role-id").await.ok();
    let secret_id = team.put("auth/approle/role/replicate/secret-id", json!({})).await.ok();
    world.file("secret-id", &secret_id.text("/data/secret_id"));
    world.file("key", "a key for digests");
    world.file(
        "team.yaml",
        &format!(
            "names: 'team/{{{{ .MountPath }}}}/{{{{ .SecretPath }}}}'\n\
             source:\n  bailee:\n    address: {}\n    namespace: team\n\
             \x20   mounts: [kv1]\n    mount:\n      kv2:\n        folders: [in]\n\
             \x20   auth:\n      approle:\n        role_id: {}\n        secret_id_file: secret-id\n\
             destination:\n  aws-sm:\n    region: us-east-1\n\
             content_hash_key_file: key\n",
            api.base(),
            role_id.text("/data/role_id"),
        ),
    );
    let run = async || world.replicate(&["run", "-config=team.yaml"]).await;
    let ran = run().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.value("team/kv2/in/deep/b"), Some(json!({ "n": "in/deep/b" })));
    assert_eq!(world.value("team/kv1/old/d"), Some(json!({ "n": "one" })));
    assert!(world.value("team/kv2/out/c").is_none());
    assert!(run().await.out.contains("3 unchanged"));
    team.put("kv1/old/d", json!({ "n": "two" })).await.done();
    assert!(run().await.out.contains("updated team/kv1/old/d"));
    assert_eq!(world.value("team/kv1/old/d"), Some(json!({ "n": "two" })));
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_another_region_are_brought_and_kept_up_to_date() {
    let world = World::new().await;
    world.aws.put_secret_in("eu-west-1", "from/a", "{\"n\":1}");
    world.aws.put_secret_in("eu-west-1", "else/b", "{\"n\":1}");
    world.file(
        "regions.hcl",
        "names = \"to/{{ .SecretPath }}\"\n\
         source \"aws-sm\" {\n  region = \"eu-west-1\"\n  prefix = \"from/\"\n}\n\
         destination \"aws-sm\" { region = \"us-east-1\" }\n",
    );
    let run = async || world.replicate(&["run", "-config=regions.hcl"]).await;
    let ran = run().await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.value("to/from/a"), Some(json!({ "n": 1 })));
    assert!(world.aws.secret("to/else/b").is_none());
    world.calls();
    assert!(run().await.out.contains("1 unchanged"));
    assert_eq!(world.calls(), counts(&[("ListSecrets", 2)]));
    world.aws.put_secret_in("eu-west-1", "from/a", "{\"n\":2}");
    assert!(run().await.out.contains("updated to/from/a"));
    assert_eq!(world.value("to/from/a"), Some(json!({ "n": 2 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_not_read_again_where_both_ends_are_one_place() {
    let world = World::new().await;
    world.aws.put_secret("from/a", "{\"n\":1}");
    let configure = |start: &str, names: &str| {
        world.file(
            "one.hcl",
            &format!(
                "names = \"{names}/{{{{ .SecretPath }}}}\"\n\
                 source \"aws-sm\" {{ prefix = {start:?} }}\n\
                 destination \"aws-sm\" {{ region = \"us-east-1\" }}\n"
            ),
        );
    };
    for (start, names) in [("", "to"), ("from/", "from/copy"), ("from/copy/", "from")] {
        configure(start, names);
        let refused = world.replicate(&["run", "-config=one.hcl"]).await;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert!(refused.out.contains("would be read again"), "{refused:?}");
    }
    configure("from/", "to");
    for told in ["1 created", "1 unchanged"] {
        let ran = world.replicate(&["run", "-config=one.hcl"]).await;
        assert!(ran.code == 0 && ran.out.contains(told), "{ran:?}");
    }
    assert_eq!(world.value("to/from/a"), Some(json!({ "n": 1 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_of_aws_is_enough_at_both_ends() {
    let aws = FakeAws::start().await;
    let config = format!(
        "aws {{\n  allowed_ipv4_addresses = [\"127.0.0.1/32\"]\n  allowed_ports = [{}]\n}}\n",
        aws.port()
    );
    let server = TestServer::start_with(Options { config, ..Options::default() }).await;
    server.enable_kv("apps").await;
    let api = server.api().clone();
    api.put("apps/data/a", json!({ "data": { "n": 1 } })).await.done();
    api.put(
        "sys/policies/acl/apps",
        json!({ "policy": "path \"apps/*\" { capabilities = [\"read\", \"list\"] }" }),
    )
    .await
    .done();
    api.post("sys/auth/aws", json!({ "type": "aws" })).await.done();
    let admin = aws.administrator().clone();
    let client = json!({
        "sts_endpoint": aws.endpoint(), "iam_endpoint": aws.endpoint(),
        "access_key": admin.access_key_id, "secret_key": admin.secret_access_key,
    });
    api.post("auth/aws/config/client", client).await.done();
    let key = aws.create_user("replicator", &[]);
    let role = json!({
        "bound_iam_principal_arn": "arn:aws:iam::123456789012:user/replicator",
        "token_policies": "apps", "token_ttl": "10m",
    });
    api.post("auth/aws/role/replicator", role).await.done();
    let folder = tempfile::tempdir().unwrap();
    let token = String::new();
    let world = World { aws, server, folder, key, token };
    world.file(
        "replicate.hcl",
        &format!(
            "prefix = \"apps\"\n\
             source \"bailee\" {{\n  address = {:?}\n  mounts = [\"apps\"]\n\
             auth \"aws\" {{ role = \"replicator\"  sts_endpoint = {:?} }}\n}}\n\
             destination \"aws-sm\" {{ region = \"us-east-1\" }}\n",
            api.base(),
            world.aws.endpoint(),
        ),
    );
    let printed = world.replicate(&["policy", "-config=replicate.hcl"]).await;
    world.aws.set_user_policies("replicator", &[&printed.out]);
    assert!(world.runs().await.contains("created apps/a"));
    assert_eq!(world.value("apps/a"), Some(json!({ "n": 1 })));
}

/// In front of a server: lets in who applies with a signed token, as methods do that this server has not.
/// All else goes to the server behind it.
struct Gate {
    address: String,
    applied: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Gate {
    async fn before(api: &Api, token: &str) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let applied = Arc::new(Mutex::new(Vec::new()));
        let (keep, base, token) = (applied.clone(), api.base().to_owned(), token.to_owned());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (keep, base, token) = (keep.clone(), base.clone(), token.clone());
                tokio::spawn(async move { pass(stream, &base, &token, &keep).await });
            }
        });
        Gate { address, applied }
    }
}

async fn pass(mut stream: TcpStream, base: &str, token: &str, keep: &Mutex<Vec<(String, Value)>>) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            break (head.to_owned(), body.to_owned());
        }
    };
    let mut line = head.split(' ');
    let (method, path) = (line.next().unwrap(), line.next().unwrap());
    let (status, answer) = if path.ends_with("/login") {
        keep.lock().push((path.to_owned(), serde_json::from_str(&body).unwrap()));
        let auth = json!({ "client_token": token, "lease_duration": 600, "renewable": false });
        (200, json!({ "auth": auth }).to_string())
    } else {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = reqwest::Client::new().request(method, format!("{base}{path}"));
        if let Some(token) = header(&head, "x-vault-token") {
            request = request.header("x-vault-token", token);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all((head + &answer).as_bytes()).await.unwrap();
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_tokens_of_an_issuer_and_of_kubernetes_let_in() {
    let world = World::connected().await;
    world.write("a", json!({ "n": 0 })).await;
    world.file("jwt", "signed.canary.token\n");
    for (number, (auth, path, role)) in [
        ("auth \"jwt\" {\n role = \"r\"\n jwt_file = \"jwt\"\n}", "/v1/auth/jwt/login", Some("r")),
        ("auth \"jwt\" {\n mount = \"ci\"\n jwt_file = \"jwt\"\n}", "/v1/auth/ci/login", None),
        (
            "auth \"kubernetes\" {\n role = \"k\"\n jwt_file = \"jwt\"\n}",
            "/v1/auth/kubernetes/login",
            Some("k"),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        // A run gives back the token that it got by a login.
        let token = world.reader("apps").await;
        let gate = Gate::before(world.server.api(), &token).await;
        world.file(
            "signed.hcl",
            &format!(
                "prefix = \"apps\"\nsource \"bailee\" {{\n address = {:?}\n mounts = [\"apps\"]\n \
                 {auth}\n}}\ndestination \"aws-sm\" {{ region = \"us-east-1\" }}\n",
                gate.address
            ),
        );
        world.write("a", json!({ "n": number })).await;
        let ran = world.replicate(&["run", "-config=signed.hcl"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(world.value("apps/a"), Some(json!({ "n": number })));
        let mut body = json!({ "jwt": "signed.canary.token" });
        if let Some(role) = role {
            body["role"] = json!(role);
        }
        assert_eq!(std::mem::take(&mut *gate.applied.lock()), [(path.to_owned(), body)]);
        assert!(!ran.out.contains("canary") && !ran.err.contains("canary"));
    }
    // Where a pod has its token when nothing else is said.
    let of_pods = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    if !Path::new(of_pods).exists() {
        let text = std::fs::read_to_string(world.folder.path().join("signed.hcl")).unwrap();
        world.file("signed.hcl", &text.replace(" jwt_file = \"jwt\"\n", ""));
        let ended = world.replicate(&["run", "-config=signed.hcl"]).await;
        assert!(ended.code == 2 && ended.out.contains(of_pods), "{ended:?}");
    }
}

/// A certificate for a name, its key, and the authority that signed it, in files.
fn certificate(folder: &Path, name: &str, purpose: ExtendedKeyUsagePurpose) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![format!("{name}.internal")]).unwrap();
    params.extended_key_usages = vec![purpose];
    let signed = params.signed_by(&key, &issuer).unwrap().pem();
    for (end, text) in [("ca", authority), ("crt", signed), ("key", key.serialize_pem())] {
        std::fs::write(folder.join(format!("{name}.{end}")), text).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_an_authority_of_its_own_that_demands_certificates_is_read() {
    let files = tempfile::tempdir().unwrap();
    certificate(files.path(), "vault", ExtendedKeyUsagePurpose::ServerAuth);
    certificate(files.path(), "client", ExtendedKeyUsagePurpose::ClientAuth);
    certificate(files.path(), "stranger", ExtendedKeyUsagePurpose::ClientAuth);
    let (port, at) = (free_port(), |name: &str| files.path().join(name));
    let config = format!(
        "listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_cert_file = {:?}\n  \
         tls_key_file = {:?}\n  tls_client_ca_file = {:?}\n  \
         tls_require_and_verify_client_cert = true\n}}\n",
        at("vault.crt"),
        at("vault.key"),
        at("client.ca")
    );
    let server = TestServer::start_with(Options { config, ..Options::default() }).await;
    server.enable_kv("apps").await;
    let aws = FakeAws::start().await;
    let (key, token) = (aws.administrator().clone(), server.api().token().to_owned());
    let world = World { aws, server, folder: tempfile::tempdir().unwrap(), key, token };
    world.write("a", json!({ "n": 1 })).await;
    world.file("token", &world.token);
    let whole = format!(
        "prefix = \"apps\"\nsource \"bailee\" {{\n  address = \"https://127.0.0.1:{port}\"\n  \
         mounts = [\"apps\"]\n  ca_cert = {:?}\n  client_cert = {:?}\n  client_key = {:?}\n  \
         tls_server_name = \"vault.internal\"\n  auth \"token_file\" {{ path = \"token\" }}\n}}\n\
         destination \"aws-sm\" {{ region = \"us-east-1\" }}\n",
        at("vault.ca"),
        at("client.crt"),
        at("client.key")
    );
    for (from, to) in [
        ("vault.ca", "client.ca"),
        ("client.", "stranger."),
        ("tls_server_name = \"vault.internal\"", "tls_server_name = \"other.internal\""),
        ("client_cert = ", "# client_cert = "),
    ] {
        let mut text = whole.replace(from, to);
        if from == "client_cert = " {
            text = text.replace("client_key = ", "# client_key = ");
        }
        world.file("tls.hcl", &text);
        let refused = world.replicate(&["run", "-config=tls.hcl"]).await;
        assert!(refused.code == 2 && refused.out.contains("https://"), "{to}: {refused:?}");
        assert!(world.value("apps/a").is_none());
    }
    world.file("tls.hcl", &whole);
    let ran = world.replicate(&["run", "-config=tls.hcl"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(world.value("apps/a"), Some(json!({ "n": 1 })));
}
