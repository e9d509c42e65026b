//! Identity and Access Management: who exists, what they may do, and the calls that change it.

pub(crate) mod actions;
pub(crate) mod attachments;
pub(crate) mod condition;
pub(crate) mod evaluate;
pub(crate) mod groups;
pub(crate) mod managed_policies;
pub(crate) mod pattern;
pub(crate) mod policy;
pub(crate) mod roles;
pub(crate) mod store;
pub(crate) mod users;
