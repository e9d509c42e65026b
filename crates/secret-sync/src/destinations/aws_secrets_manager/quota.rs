//! Whose quota calls are charged to.

use bailee_cloud::aws::AwsConnection;

/// What stands for the account whose quota calls are charged to. An access key's id holds the
/// number of its account; should one not, it stands for itself.
pub(super) fn caller_account(connection: &AwsConnection) -> String {
    let of_role = connection.role_arn.as_ref().and_then(|role| role.split(':').nth(4));
    let of_key = connection.access_key_id.as_ref().map(|key| account_of_key(key));
    of_role.map(str::to_owned).or_else(|| of_key.flatten()).unwrap_or_else(|| {
        connection.access_key_id.clone().unwrap_or_else(|| "this machine".to_owned())
    })
}

fn account_of_key(key: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let code = key.strip_prefix("AKIA").or_else(|| key.strip_prefix("ASIA"))?;
    let digits = code.bytes().take(10).map(|byte| ALPHABET.iter().position(|one| *one == byte));
    let digits: Option<Vec<usize>> = digits.collect();
    let digits = digits.filter(|digits| digits.len() == 10)?;
    // Ten digits of five bits; the account's number has 40 bits behind the first one.
    let number = digits.iter().fold(0_u64, |sum, digit| (sum << 5) | *digit as u64);
    Some(format!("{:012}", (number >> 9) & 0xff_ffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_key_tells_its_account() {
        assert_eq!(account_of_key("ASIAQNZGKIQY56JQ7WML").as_deref(), Some("029608264753"));
        assert_eq!(account_of_key("AKIAY34FZKBOKMUTVV7A").as_deref(), Some("609629065308"));
        assert_eq!(account_of_key("AKIA"), None);
        assert_eq!(account_of_key("test"), None);
        assert_eq!(account_of_key("AKIA!!!!!!!!!!!!!!!!"), None);
    }
}
