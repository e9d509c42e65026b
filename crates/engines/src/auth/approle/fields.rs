//! `role/<name>/<field>`: one field of a role, for policies that allow no more than that.

use super::{
    AppRole,
    role::{self, OneRole, RoleChange},
};
use crate::auth::token_fields::present;
use bailee_sdk::{
    Error,
    Operation::{Delete, Read, Update},
    Path, Reply, Request,
    field::{CommaList, Flag, Integer, Ttl},
};
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Map;
use std::sync::Arc;

/// A change of one field, under its names.
trait OneField: DeserializeOwned + JsonSchema + Send + 'static {
    /// The field as it is called here, and in the role.
    const NAMES: &'static [(&'static str, &'static str)];
    fn role_name(&self) -> &str;
    /// `None` where the field is not given.
    fn change(self) -> Option<RoleChange>;
    /// Back to what a new role has.
    fn reset() -> RoleChange;
}

macro_rules! fields {
    ($(
        $(#[$about:meta])*
        $input:ident {
            reset => $reset:expr;
            $($(#[$doc:meta])* $field:ident ($shown:literal): $type:ty => $set:expr;)+
        }
    )+) => {
        $(
            $(#[$about])*
            #[derive(Deserialize, JsonSchema)]
            struct $input {
                /// Name of the role.
                role_name: String,
                $(
                    $(#[$doc])*
                    #[serde(default, deserialize_with = "present")]
                    $field: Option<$type>,
                )+
            }

            impl OneField for $input {
                const NAMES: &'static [(&'static str, &'static str)] =
                    &[$((stringify!($field), $shown)),+];

                fn role_name(&self) -> &str {
                    &self.role_name
                }

                fn change(self) -> Option<RoleChange> {
                    let mut change = RoleChange::default();
                    let mut given = false;
                    $(
                        let set: fn(&mut RoleChange, Option<$type>) = $set;
                        given |= self.$field.is_some();
                        set(&mut change, self.$field);
                    )+
                    given.then_some(change)
                }

                fn reset() -> RoleChange {
                    let mut change = RoleChange::default();
                    let reset: fn(&mut RoleChange) = $reset;
                    reset(&mut change);
                    change
                }
            }
        )+
    };
}

fields! {
    /// Policies.
    Policies {
        reset => |change| change.tokens.policies = Some(CommaList::default());
        /// Policies of the tokens.
        token_policies("token_policies"): CommaList => |change, given| change.tokens.policies = given;
        /// Older name of `token_policies`.
        policies("policies"): CommaList => |change, given| change.old.policies = given;
    }
    /// Period.
    Period {
        reset => |change| change.tokens.period = Some(Ttl::default());
        /// For tokens that can be renewed for ever, how long each time; 0 for others.
        token_period("token_period"): Ttl => |change, given| change.tokens.period = given;
        /// Older name of `token_period`.
        period("period"): Ttl => |change, given| change.old.period = given;
    }
    /// Lifetime.
    TokenTtl {
        reset => |change| change.tokens.ttl = Some(Ttl::default());
        /// How long a token lasts; 0 for what the mount says.
        token_ttl("token_ttl"): Ttl => |change, given| change.tokens.ttl = given;
    }
    /// Longest lifetime.
    TokenMaxTtl {
        reset => |change| change.tokens.max_ttl = Some(Ttl::default());
        /// How long a token lasts with all renewals; 0 for what the mount says.
        token_max_ttl("token_max_ttl"): Ttl => |change, given| change.tokens.max_ttl = given;
    }
    /// Uses.
    TokenNumUses {
        reset => |change| change.tokens.num_uses = Some(Integer::default());
        /// Requests a token is good for; 0 for any number.
        token_num_uses("token_num_uses"): Integer => |change, given| change.tokens.num_uses = given;
    }
    /// Origin.
    TokenBoundCidrs {
        reset => |change| change.tokens.bound_cidrs = Some(CommaList::default());
        /// Blocks of addresses from which one can log in and use the tokens; none for all.
        token_bound_cidrs("token_bound_cidrs"): CommaList =>
            |change, given| change.tokens.bound_cidrs = given;
    }
    /// Whether a secret id is needed.
    BindSecretId {
        reset => |change| change.bind_secret_id = Some(Flag(true));
        /// Whether a login needs a secret id.
        bind_secret_id("bind_secret_id"): Flag => |change, given| change.bind_secret_id = given;
    }
    /// Origin of logins.
    SecretIdBoundCidrs {
        reset => |change| change.secret_id_bound_cidrs = Some(CommaList::default());
        /// Blocks of addresses from which one can log in; none for all.
        secret_id_bound_cidrs("secret_id_bound_cidrs"): CommaList =>
            |change, given| change.secret_id_bound_cidrs = given;
    }
    /// Origin of logins, by an older name.
    BoundCidrList {
        reset => |change| change.secret_id_bound_cidrs = Some(CommaList::default());
        /// Blocks of addresses from which one can log in; none for all.
        bound_cidr_list("secret_id_bound_cidrs"): CommaList =>
            |change, given| change.secret_id_bound_cidrs = given;
    }
    /// Uses of secret ids.
    SecretIdNumUses {
        reset => |change| change.secret_id_num_uses = Some(Integer::default());
        /// Logins a secret id is good for; 0 for any number.
        secret_id_num_uses("secret_id_num_uses"): Integer =>
            |change, given| change.secret_id_num_uses = given;
    }
    /// Lifetime of secret ids.
    SecretIdTtl {
        reset => |change| change.secret_id_ttl = Some(Ttl::default());
        /// How long a secret id lasts; 0 for ever.
        secret_id_ttl("secret_id_ttl"): Ttl => |change, given| change.secret_id_ttl = given;
    }
}

pub(super) fn paths(engine: &Arc<AppRole>) -> Vec<Path> {
    vec![
        field::<Policies>(engine, "role/{role_name}/policies"),
        field::<Period>(engine, "role/{role_name}/period"),
        field::<TokenTtl>(engine, "role/{role_name}/token-ttl"),
        field::<TokenMaxTtl>(engine, "role/{role_name}/token-max-ttl"),
        field::<TokenNumUses>(engine, "role/{role_name}/token-num-uses"),
        field::<TokenBoundCidrs>(engine, "role/{role_name}/token-bound-cidrs"),
        field::<BindSecretId>(engine, "role/{role_name}/bind-secret-id"),
        field::<SecretIdBoundCidrs>(engine, "role/{role_name}/secret-id-bound-cidrs"),
        field::<BoundCidrList>(engine, "role/{role_name}/bound-cidr-list"),
        field::<SecretIdNumUses>(engine, "role/{role_name}/secret-id-num-uses"),
        field::<SecretIdTtl>(engine, "role/{role_name}/secret-id-ttl"),
        Path::new("role/{role_name}/local-secret-ids").on(
            Read,
            engine,
            "Read whether secret ids are kept on one cluster",
            |_: Arc<AppRole>, request: Request<OneRole>| async move {
                show(&request, &[("local_secret_ids", "local_secret_ids")]).await
            },
        ),
    ]
}

fn field<F: OneField>(engine: &Arc<AppRole>, pattern: &'static str) -> Path {
    Path::new(pattern)
        .on(Read, engine, "Read this field of a role", read::<F>)
        .on(Update, engine, "Change this field of a role", write::<F>)
        .on(Delete, engine, "Set this field of a role back", reset::<F>)
}

async fn read<F: OneField>(_: Arc<AppRole>, request: Request<OneRole>) -> Result<Reply, Error> {
    show(&request, F::NAMES).await
}

async fn write<F: OneField>(_: Arc<AppRole>, request: Request<F>) -> Result<Reply, Error> {
    let (input, request) = request.take_input();
    let name = input.role_name().to_owned();
    let Some(change) = input.change() else {
        let field = F::NAMES.first().map(|(field, _)| *field).unwrap_or_default();
        return Err(Error::invalid(format!("missing {field}")));
    };
    role::change(&request.view, &name, async |role| role.apply(change)).await
}

async fn reset<F: OneField>(_: Arc<AppRole>, request: Request<OneRole>) -> Result<Reply, Error> {
    let name = &request.input.role_name;
    role::change(&request.view, name, async |role| role.apply(F::reset())).await
}

async fn show(request: &Request<OneRole>, names: &[(&str, &str)]) -> Result<Reply, Error> {
    let role = role::find(&request.view, &request.input.role_name).await?;
    let shown = role.ok_or_else(Error::not_found)?.shown();
    let fields: Map<_, _> = names
        .iter()
        .filter_map(|(field, source)| Some(((*field).to_owned(), shown.get(*source)?.clone())))
        .collect();
    Ok(Reply::data(&fields))
}
