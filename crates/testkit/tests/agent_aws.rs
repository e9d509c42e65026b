//! The agent's AWS Secrets Manager against moto, a fake that we did not write.

#![expect(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use bailee_agent::{
    Cause, Material, SecretManager, Wanted,
    aws::{
        AwsManager, Fields, Settings, Surroundings,
        check::{Wishes, check},
    },
    manager::Which,
};
use bailee_cloud::HttpOptions;
use bailee_crypto::{Sensitive, SystemClock};
use bailee_fake_clouds::{FakeAws, FakeInstance};
use bailee_testkit::{Program, python};
use std::sync::Arc;

/// What another program wrote; it says the ARN of `prod/a`.
async fn write(moto: &Program) -> String {
    const PROGRAM: &str = "\
import sys, boto3
aws = boto3.client('secretsmanager', region_name='us-east-2', endpoint_url=sys.argv[1],
    aws_access_key_id='AKIAMOTO', aws_secret_access_key='moto')
tags = [{'Key': 'app', 'Value': 'orders'}]
arn = aws.create_secret(Name='prod/a', SecretString='one', Tags=tags)['ARN']
aws.put_secret_value(SecretId='prod/a', SecretString='two')
aws.create_secret(Name='prod/b', SecretBinary=b'\\x00\\xff', Tags=tags)
print(arn, end='')
";
    let mut command = tokio::process::Command::new(python());
    let output = command.args(["-c", PROGRAM, &moto.url()]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn surroundings() -> Surroundings {
    Surroundings { http: HttpOptions::default(), clock: Arc::new(SystemClock) }
}

fn keys(moto: &Program) -> Fields {
    Fields {
        authentication: Some("access-key".to_owned()),
        region: Some("us-east-2".to_owned()),
        endpoint: Some(moto.url()),
        sts_endpoint: Some(moto.url()),
        access_key_id: Some("AKIAIOSFODNN7EXAMPLE".to_owned()),
        secret_access_key: Some(Sensitive::from("moto")),
        ..Fields::default()
    }
}

/// The three ways of authentication.
fn ways(moto: &Program, instance: &FakeInstance) -> Vec<Fields> {
    let role = Fields {
        authentication: Some("role".to_owned()),
        role_arn: Some("arn:aws:iam::123456789012:role/app".to_owned()),
        external_id: Some("shared-word".to_owned()),
        ..keys(moto)
    };
    let instance = Fields {
        authentication: Some("instance-profile".to_owned()),
        metadata_endpoint: Some(instance.metadata_endpoint()),
        access_key_id: None,
        secret_access_key: None,
        ..keys(moto)
    };
    vec![role, instance, keys(moto)]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_authentication_reads_from_moto_what_boto3_wrote_and_its_check_passes() {
    let moto = Program::moto().await;
    let arn = write(&moto).await;
    let aws = FakeAws::start().await;
    let trust = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":
        {"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}"#;
    aws.create_role("app", trust, &[]);
    let instance = FakeInstance::start(&aws, "app").await;
    let tags = [("app".to_owned(), "orders".to_owned())];
    let wanted = vec![Wanted::current("prod/a"), Wanted::current(&arn), Wanted::current("prod/b")];
    for fields in ways(&moto, &instance) {
        let settings = Settings::new(&fields).unwrap();
        let manager = AwsManager::new(&settings, &surroundings()).await.unwrap();
        let one = manager.fetch(&Wanted::current("prod/a")).await.unwrap();
        assert_eq!((&one.id, one.material), (&arn, Material::text("two")));
        let previous = Which::Stage("AWSPREVIOUS".to_owned());
        let previous = Wanted { id: "prod/a".to_owned(), version: previous };
        assert_eq!(manager.fetch(&previous).await.unwrap().material, Material::text("one"));
        let many = manager.fetch_many(&wanted).await;
        let bytes: Vec<&[u8]> =
            many.iter().map(|one| one.as_ref().unwrap().material.bytes()).collect();
        assert_eq!(bytes, [b"two".as_slice(), b"two", b"\0\xff"]);
        assert_eq!(manager.fetch_tagged(&tags.clone().into()).await.unwrap().len(), 2);
        let missing = manager.fetch(&Wanted::current("missing")).await.unwrap_err();
        assert_eq!(missing.cause, Cause::NotFound);
        assert_eq!(missing.code, "ResourceNotFoundException");
        let wishes = Wishes { secrets: wanted.clone(), tags: vec![tags.clone().into()] };
        let report = check(&settings, &surroundings(), &wishes).await.unwrap();
        assert!(report.is_ok(), "{report}");
    }
}
