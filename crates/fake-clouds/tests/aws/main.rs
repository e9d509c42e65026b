//! The fake of AWS through its front door: signed HTTP requests, one test for each rule.

#[cfg(test)]
mod client;
#[cfg(test)]
mod deletion;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod identities;
#[cfg(test)]
mod instances;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod listing;
#[cfg(test)]
mod notices;
#[cfg(test)]
mod permissions;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod signatures;
#[cfg(test)]
mod values;
