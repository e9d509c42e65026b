//! AWS's regions: their names as people write them, and where services are.

/// A region's code and its name in AWS's console.
const REGIONS: &[(&str, &str)] = &[
    ("af-south-1", "Africa (Cape Town)"),
    ("ap-east-1", "Asia Pacific (Hong Kong)"),
    ("ap-east-2", "Asia Pacific (Taipei)"),
    ("ap-northeast-1", "Asia Pacific (Tokyo)"),
    ("ap-northeast-2", "Asia Pacific (Seoul)"),
    ("ap-northeast-3", "Asia Pacific (Osaka)"),
    ("ap-south-1", "Asia Pacific (Mumbai)"),
    ("ap-south-2", "Asia Pacific (Hyderabad)"),
    ("ap-southeast-1", "Asia Pacific (Singapore)"),
    ("ap-southeast-2", "Asia Pacific (Sydney)"),
    ("ap-southeast-3", "Asia Pacific (Jakarta)"),
    ("ap-southeast-4", "Asia Pacific (Melbourne)"),
    ("ap-southeast-5", "Asia Pacific (Malaysia)"),
    ("ap-southeast-6", "Asia Pacific (New Zealand)"),
    ("ap-southeast-7", "Asia Pacific (Thailand)"),
    ("ca-central-1", "Canada (Central)"),
    ("ca-west-1", "Canada West (Calgary)"),
    ("cn-north-1", "China (Beijing)"),
    ("cn-northwest-1", "China (Ningxia)"),
    ("eu-central-1", "Europe (Frankfurt)"),
    ("eu-central-2", "Europe (Zurich)"),
    ("eu-north-1", "Europe (Stockholm)"),
    ("eu-south-1", "Europe (Milan)"),
    ("eu-south-2", "Europe (Spain)"),
    ("eu-west-1", "Europe (Ireland)"),
    ("eu-west-2", "Europe (London)"),
    ("eu-west-3", "Europe (Paris)"),
    ("eusc-de-east-1", "AWS European Sovereign Cloud (Germany)"),
    ("il-central-1", "Israel (Tel Aviv)"),
    ("me-central-1", "Middle East (UAE)"),
    ("me-south-1", "Middle East (Bahrain)"),
    ("mx-central-1", "Mexico (Central)"),
    ("sa-east-1", "South America (Sao Paulo)"),
    ("us-east-1", "US East (N. Virginia)"),
    ("us-east-2", "US East (Ohio)"),
    ("us-gov-east-1", "AWS GovCloud (US-East)"),
    ("us-gov-west-1", "AWS GovCloud (US-West)"),
    ("us-iso-east-1", "US ISO East"),
    ("us-iso-west-1", "US ISO West"),
    ("us-isob-east-1", "US ISOB East (Ohio)"),
    ("us-west-1", "US West (N. California)"),
    ("us-west-2", "US West (Oregon)"),
];
/// Regions that an account has to be opened for: sessions of the global STS endpoint do not hold there.
const OPT_IN: &[&str] = &[
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-south-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-west-1",
    "eu-central-2",
    "eu-south-1",
    "eu-south-2",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
];
/// The region of the global STS endpoint.
pub(super) const GLOBAL_STS_REGION: &str = "us-east-1";
/// Where the global STS endpoint is.
pub(super) const GLOBAL_STS_ENDPOINT: &str = "https://sts.amazonaws.com";
/// Changed letters up to which one name is taken for a slip of another.
const SLIPS_MAX: usize = 3;

/// Whether there is a region of that code, as far as this version knows.
pub(super) fn is_known(region: &str) -> bool {
    REGIONS.iter().any(|(code, _)| *code == region)
}

/// Whether sessions of the global STS endpoint do not hold in that region.
pub(super) fn is_opt_in(region: &str) -> bool {
    OPT_IN.contains(&region)
}

/// The region that somebody means who wrote something else: its name in the console, a city, a zone, or its
/// code with a slip.
pub(super) fn meant(written: &str) -> Option<&'static str> {
    let plain = plain(written);
    if plain.is_empty() {
        return None;
    }
    let by_name = |(_, name): &&(&str, &str)| {
        let city = name.split_once('(').map_or(*name, |(_, city)| city);
        self::plain(name) == plain || self::plain(city) == plain
    };
    // A name with its code beside it, or a zone such as us-east-2a.
    let holds = |(code, _): &&(&str, &str)| plain.contains(&self::plain(code));
    let found = REGIONS.iter().find(by_name).or_else(|| REGIONS.iter().find(holds));
    if let Some((code, _)) = found {
        return Some(code);
    }
    let distance = |code: &str| strsim::damerau_levenshtein(&plain, &self::plain(code));
    let nearest = REGIONS.iter().map(|(code, _)| (distance(code), *code)).min()?;
    (nearest.0 <= SLIPS_MAX).then_some(nearest.1)
}

/// Letters and digits in lower case, without accents of the one name that has them.
fn plain(text: &str) -> String {
    let letters = text.chars().filter(|letter| letter.is_alphanumeric());
    letters.flat_map(char::to_lowercase).map(|l| if l == 'ã' { 'a' } else { l }).collect()
}

/// The end of the host names of a region's services.
pub(super) fn domain(region: &str) -> &'static str {
    match region {
        _ if region.starts_with("cn-") => "amazonaws.com.cn",
        _ if region.starts_with("eusc-") => "amazonaws.eu",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ => "amazonaws.com",
    }
}

/// Whether the region is one of those that the global STS endpoint is for.
pub(super) fn has_global_sts(region: &str) -> bool {
    domain(region) == "amazonaws.com" && !region.starts_with("us-gov-")
}

/// Where STS is in a region.
pub(super) fn sts_endpoint(region: &str) -> String {
    format!("https://sts.{region}.{}", domain(region))
}

/// Where Secrets Manager is in a region.
pub(super) fn secrets_endpoint(region: &str) -> String {
    format!("https://secretsmanager.{region}.{}", domain(region))
}

/// A service of AWS that a URL leads to: its name, and the region where the host names one.
pub(super) fn service_of(url: &str) -> Option<(&str, Option<&str>)> {
    let (_, rest) = url.split_once("://")?;
    let host = rest.split(['/', ':', '?', '#']).next()?;
    let name = host.strip_suffix('.').unwrap_or(host);
    let owned = ["amazonaws.com", "amazonaws.com.cn", "api.aws", "amazonaws.eu"];
    let labels = owned.iter().find_map(|end| name.strip_suffix(end)?.strip_suffix('.'))?;
    // vpce-0123-abcd.sts.us-east-2.vpce
    let labels = labels.strip_suffix(".vpce").unwrap_or(labels);
    let mut reversed = labels.rsplit('.');
    let last = reversed.next()?;
    match reversed.next() {
        None => Some((last, None)),
        Some(service) => Some((service, Some(last))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_known_by_its_name_its_city_a_zone_or_a_slip() {
        for (written, code) in [
            ("US East (Ohio)", "us-east-2"),
            ("us east (ohio)", "us-east-2"),
            ("Ohio", "us-east-2"),
            ("US East (Ohio) us-east-2", "us-east-2"),
            ("us-east-2a", "us-east-2"),
            ("US-EAST-2", "us-east-2"),
            ("us_east_2", "us-east-2"),
            ("us-esat-1", "us-east-1"),
            ("eu-wst-1", "eu-west-1"),
            ("Frankfurt", "eu-central-1"),
            ("South America (São Paulo)", "sa-east-1"),
            ("N. Virginia", "us-east-1"),
        ] {
            assert_eq!(meant(written), Some(code), "{written}");
        }
        for nothing in ["", "mars", "on the moon", "localhost"] {
            assert_eq!(meant(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn every_region_means_itself_by_code_and_by_name() {
        for (code, name) in REGIONS {
            assert_eq!(meant(name), Some(*code), "{name}");
            assert!(meant(code).is_some_and(|meant| *code == meant || code.starts_with("us-iso")));
            assert!(is_known(code));
        }
        assert!(OPT_IN.iter().all(|code| is_known(code)));
    }

    #[test]
    fn the_service_and_region_of_a_host_are_read() {
        for (url, service) in [
            ("https://sts.amazonaws.com", ("sts", None)),
            ("https://sts.us-east-2.amazonaws.com/", ("sts", Some("us-east-2"))),
            (
                "https://secretsmanager.us-east-2.amazonaws.com",
                ("secretsmanager", Some("us-east-2")),
            ),
            ("http://sts.cn-north-1.amazonaws.com.cn:80", ("sts", Some("cn-north-1"))),
            ("https://sts.eu-west-1.api.aws", ("sts", Some("eu-west-1"))),
            ("https://vpce-0-1.sts.eu-west-1.vpce.amazonaws.com", ("sts", Some("eu-west-1"))),
        ] {
            assert_eq!(service_of(url), Some(service), "{url}");
        }
        assert_eq!(service_of("http://127.0.0.1:4566"), None);
    }
}
