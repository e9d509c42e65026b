use super::*;

const ROLE: &str = "arn:aws:iam::111122223333:role/app";
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn role_in(region: &str) -> Fields {
    Fields {
        authentication: text("role"),
        region: text(region),
        role_arn: text(ROLE),
        ..Fields::default()
    }
}

fn keys() -> Fields {
    Fields {
        authentication: text("access-key"),
        region: text("us-east-2"),
        access_key_id: text(KEY),
        secret_access_key: Some(Sensitive::from("wJalrXUtnFEMI")),
        ..Fields::default()
    }
}

fn refused(fields: &Fields) -> String {
    Settings::new(fields).unwrap_err().to_string()
}

fn sts_of(fields: &Fields) -> (String, String) {
    let sts = Settings::new(fields).unwrap().sts;
    (sts.endpoint, sts.region)
}

#[test]
fn a_region_by_its_display_name_is_answered_with_its_code() {
    assert_eq!(
        refused(&role_in("US East (Ohio)")),
        "region: \"US East (Ohio)\" is no region's code: write \"us-east-2\""
    );
    assert_eq!(
        refused(&role_in("us-esat-2")),
        "region: \"us-esat-2\" is no region's code: write \"us-east-2\""
    );
    assert_eq!(
        refused(&role_in("mars")),
        "region: \"mars\" is no region that is known: want a code such as us-east-2; for a region of a newer date \
         give `endpoint` with it"
    );
    assert_eq!(
        refused(&Fields { region: None, ..role_in("") }),
        "region: it is missing: give the region of the secrets, such as us-east-2"
    );
    let newer = Fields {
        endpoint: text("https://secretsmanager.xy-new-1.amazonaws.com"),
        ..role_in("xy-new-1")
    };
    assert_eq!(Settings::new(&newer).unwrap().region(), "xy-new-1");
}

#[test]
fn sts_is_the_global_endpoint_unless_another_is_given() {
    let global = ("https://sts.amazonaws.com".to_owned(), "us-east-1".to_owned());
    assert_eq!(sts_of(&role_in("us-east-2")), global);
    assert_eq!(sts_of(&Fields { sts_region: text("us-east-1"), ..role_in("us-east-2") }), global);
    assert_eq!(
        sts_of(&Fields { sts_endpoint: text("https://sts.amazonaws.com"), ..role_in("us-east-2") }),
        global
    );
    let regional = Fields {
        sts_endpoint: text("https://sts.us-east-2.amazonaws.com"),
        ..role_in("us-east-2")
    };
    assert_eq!(sts_of(&regional).1, "us-east-2");
    let own = Fields { sts_endpoint: text("http://127.0.0.1:4566"), ..role_in("eu-west-1") };
    assert_eq!(sts_of(&own), ("http://127.0.0.1:4566".to_owned(), "eu-west-1".to_owned()));
    let named = Fields { sts_region: text("us-west-2"), ..own };
    assert_eq!(sts_of(&named).1, "us-west-2");
    // China has no global endpoint.
    assert_eq!(sts_of(&role_in("cn-north-1")).0, "https://sts.cn-north-1.amazonaws.com.cn");
}

#[test]
fn an_sts_endpoint_that_is_another_service_or_region_is_told() {
    let with = |endpoint: &str, region: Option<&str>| {
        refused(&Fields {
            sts_endpoint: text(endpoint),
            sts_region: region.map(str::to_owned),
            ..role_in("us-east-2")
        })
    };
    assert_eq!(
        with("https://secretsmanager.us-east-2.amazonaws.com", None),
        "sts_endpoint: \"https://secretsmanager.us-east-2.amazonaws.com\" is the Secrets Manager endpoint; STS's is \
         https://sts.us-east-2.amazonaws.com, or leave it out"
    );
    assert_eq!(
        with("https://sts.us-west-2.amazonaws.com", None),
        "sts_region: it is unset, which means the region of the secrets, us-east-2, and sts_endpoint is that of \
         us-west-2: write sts_region = \"us-west-2\""
    );
    assert_eq!(
        with("https://sts.us-west-2.amazonaws.com", Some("us-east-2")),
        "sts_region: \"us-east-2\" is not that of sts_endpoint \"https://sts.us-west-2.amazonaws.com\", which wants \
         \"us-west-2\""
    );
    assert_eq!(
        with("sts.us-east-2.amazonaws.com", None),
        "sts_endpoint: \"sts.us-east-2.amazonaws.com\" is no URL: write \"https://sts.us-east-2.amazonaws.com\""
    );
    assert_eq!(
        refused(&Fields { sts_region: text("us-west-2"), ..role_in("us-east-2") }),
        "sts_region: \"us-west-2\" without sts_endpoint: the global endpoint wants signatures for us-east-1; write \
         sts_endpoint = \"https://sts.us-west-2.amazonaws.com\" with it, or leave it out"
    );
    assert_eq!(
        refused(&Fields {
            endpoint: text("https://sts.us-east-2.amazonaws.com"),
            ..role_in("us-east-2")
        }),
        "endpoint: \"https://sts.us-east-2.amazonaws.com\" is the STS endpoint, which belongs in sts_endpoint"
    );
}

#[test]
fn both_parts_of_an_access_key_are_needed() {
    assert!(Settings::new(&keys()).is_ok());
    assert_eq!(
        refused(&Fields { secret_access_key: None, ..keys() }),
        "secret_access_key: it is missing: access_key_id is given, and both are needed"
    );
    assert_eq!(
        refused(&Fields { access_key_id: None, ..keys() }),
        "access_key_id: it is missing: secret_access_key is given, and both are needed"
    );
    assert_eq!(
        refused(&Fields { access_key_id: None, secret_access_key: None, ..keys() }),
        "access_key_id: it is missing: authentication = \"access-key\" needs access_key_id and secret_access_key"
    );
    let swapped = refused(&Fields {
        access_key_id: text("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        ..keys()
    });
    assert!(!swapped.contains("wJalr"), "{swapped}");
    assert!(
        refused(&Fields { access_key_id: text("ASIAIOSFODNN7EXAMPLE"), ..keys() })
            .contains("session_token")
    );
}

#[test]
fn what_does_not_belong_to_the_authentication_is_refused() {
    assert_eq!(
        refused(&Fields { role_arn: text(ROLE), ..keys() }),
        "role_arn: it is not used with authentication = \"access-key\": leave it out, or write authentication = \
         \"role\""
    );
    let instance = Fields { authentication: text("instance-profile"), ..keys() };
    assert!(refused(&instance).starts_with("access_key_id: it is not used with"));
    let kinds = "want role, instance-profile or access-key";
    let none = Fields { authentication: None, ..keys() };
    assert_eq!(refused(&none), format!("authentication: it is missing: {kinds}"));
    let other = Fields { authentication: text("iam"), ..keys() };
    assert_eq!(refused(&other), format!("authentication: \"iam\" is none: {kinds}"));
}

#[test]
fn a_role_is_given_by_its_own_arn() {
    let with = |arn: &str| refused(&Fields { role_arn: text(arn), ..role_in("us-east-2") });
    assert_eq!(
        with("arn:aws:sts::111122223333:assumed-role/app/me"),
        "role_arn: \"arn:aws:sts::111122223333:assumed-role/app/me\" is a session: give the role's ARN, \
         arn:aws:iam::111122223333:role/app"
    );
    assert!(
        with("arn:aws:iam::111122223333:instance-profile/app").contains("is an instance profile")
    );
    for arn in ["app", "arn:aws:iam::1:role/app", "arn:aws:iam::111122223333:user/app"] {
        assert!(with(arn).contains("want the ARN of a role"), "{arn}");
    }
    assert!(
        refused(&Fields { external_id: text("x"), ..role_in("us-east-2") })
            .starts_with("external_id")
    );
    let long =
        Fields { session_duration: Some(Duration::from_secs(90_000)), ..role_in("us-east-2") };
    assert!(refused(&long).starts_with("session_duration: it is not valid: want 15m to 12h"));
}

#[test]
fn a_failover_region_is_another_region() {
    let with = |region: &str| Fields { failover_region: text(region), ..role_in("us-east-2") };
    assert!(Settings::new(&with("us-west-2")).unwrap().failover.is_some());
    assert_eq!(
        refused(&with("us-east-2")),
        "failover_region: \"us-east-2\" is `region` itself: give another region"
    );
    assert_eq!(
        refused(&with("Oregon")),
        "failover_region: \"Oregon\" is no region's code: write \"us-west-2\""
    );
}

#[test]
fn an_endpoint_of_another_region_is_told() {
    let other = text("https://secretsmanager.us-west-2.amazonaws.com");
    assert_eq!(
        refused(&Fields { endpoint: other, ..keys() }),
        "endpoint: it is that of us-west-2, and region is \"us-east-2\": change one of them"
    );
}

#[test]
fn no_part_of_a_key_is_printed() {
    let settings = Settings::new(&keys()).unwrap();
    assert!(!format!("{settings:?}").contains("wJalr"));
    assert_eq!(settings.identity(), KEY);
}

#[test]
fn private_addresses_are_open_and_loopback_only_to_a_configured_endpoint() {
    let at = |settings: &Settings, address: &str| {
        settings.egress_rules().check(address.parse().unwrap()).is_ok()
    };
    let plain = Settings::new(&keys()).unwrap();
    for open in ["10.0.0.1:443", "192.168.1.1:443", "8.8.8.8:443", "[fd00::1]:443"] {
        assert!(at(&plain, open), "{open}");
    }
    for closed in ["169.254.169.254:80", "127.0.0.1:443", "[::1]:443", "10.0.0.1:4566"] {
        assert!(!at(&plain, closed), "{closed}");
    }
    let own = Fields { endpoint: text("http://127.0.0.1:4566"), ..keys() };
    let own = Settings::new(&own).unwrap();
    assert!(at(&own, "127.0.0.1:4566") && !at(&own, "169.254.169.254:80"));
}
