package main

import (
	"context"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/userpass"
)

const readerPolicy = `
path "go-v2/data/app/*" { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
path "go-v1/*"          { capabilities = ["create", "read", "update", "delete", "list"] }
`

func walkVault(address, root string) {
	ctx := context.Background()
	config := api.DefaultConfig()
	config.Address = address
	client, err := api.NewClient(config)
	check(err, "a client is made")
	client.SetToken(root)

	health, err := client.Sys().Health()
	check(err, "health")
	expect(health.Initialized && !health.Sealed && !health.Standby, "the server is active", health)
	status, err := client.Sys().SealStatus()
	check(err, "seal status")
	expect(status.Version == health.Version && status.Type == "shamir", "the status agrees", status)

	// mounts
	check(client.Sys().Mount("go-v2", &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}}), "mount kv 2")
	check(client.Sys().Mount("go-v1", &api.MountInput{Type: "kv", Config: api.MountConfigInput{DefaultLeaseTTL: "1h"}}), "mount kv 1")
	mounts, err := client.Sys().ListMounts()
	check(err, "list mounts")
	expect(mounts["go-v2/"].Options["version"] == "2" && mounts["go-v1/"].Config.DefaultLeaseTTL == 3600, "the mounts are shown", mounts)
	check(client.Sys().TuneMount("go-v1", api.MountConfigInput{MaxLeaseTTL: "2h"}), "tune")
	tuned, err := client.Sys().MountConfig("go-v1")
	check(err, "read tuning")
	expect(tuned.MaxLeaseTTL == 7200, "it is tuned", tuned)

	// policies
	check(client.Sys().PutPolicy("go-app", readerPolicy), "write a policy")
	text, err := client.Sys().GetPolicy("go-app")
	check(err, "read a policy")
	expect(text == readerPolicy, "the policy is as it was written", text)
	_, err = client.Logical().Write("sys/policies/password/go-words", map[string]any{
		"policy": `length = 20 rule "charset" { charset = "abcdefgh" min-chars = 1 }`,
	})
	check(err, "write a password policy")
	word, err := client.Logical().Read("sys/policies/password/go-words/generate")
	check(err, "generate a password")
	expect(len(word.Data["password"].(string)) == 20, "the password has its length")

	// logins
	check(client.Sys().EnableAuthWithOptions("go-people", &api.EnableAuthOptions{Type: "userpass"}), "enable userpass")
	_, err = client.Logical().Write("auth/go-people/users/ann", map[string]any{"password": "p4ss", "token_policies": "go-app", "token_ttl": "10m"})
	check(err, "make a user")
	check(client.Sys().EnableAuthWithOptions("approle", &api.EnableAuthOptions{Type: "approle"}), "enable approle")
	_, err = client.Logical().Write("auth/approle/role/go-ci", map[string]any{"token_policies": []string{"go-app"}, "token_ttl": "10m", "secret_id_num_uses": 2})
	check(err, "make a role")

	person, err := client.Clone()
	check(err, "clone")
	method, err := userpass.NewUserpassAuth("ann", &userpass.Password{FromString: "p4ss"}, userpass.WithMountPath("go-people"))
	check(err, "userpass")
	login, err := person.Auth().Login(ctx, method)
	check(err, "log in with a password")
	expect(login.Auth.LeaseDuration == 600 && login.Auth.Renewable && login.Auth.EntityID != "", "the login tells its terms", login.Auth)
	wrong, err := userpass.NewUserpassAuth("ann", &userpass.Password{FromString: "wrong"}, userpass.WithMountPath("go-people"))
	check(err, "userpass")
	stranger, err := client.Clone()
	check(err, "clone")
	_, err = stranger.Auth().Login(ctx, wrong)
	refused(err, "invalid username or password", "a wrong password is refused")

	roleID, err := client.Logical().Read("auth/approle/role/go-ci/role-id")
	check(err, "role id")
	wrapped, err := client.Clone()
	check(err, "clone")
	wrapped.SetToken(root)
	wrapped.SetWrappingLookupFunc(func(operation, path string) string { return "60s" })
	wrappedID, err := wrapped.Logical().Write("auth/approle/role/go-ci/secret-id", nil)
	check(err, "a wrapped secret id")
	machineAuth, err := approle.NewAppRoleAuth(roleID.Data["role_id"].(string), &approle.SecretID{FromString: wrappedID.WrapInfo.Token}, approle.WithWrappingToken())
	check(err, "approle")
	machine, err := client.Clone()
	check(err, "clone")
	_, err = machine.Auth().Login(ctx, machineAuth)
	check(err, "log in with a wrapped secret id")

	// KV
	kv := machine.KVv2("go-v2")
	first, err := kv.Put(ctx, "app/db", map[string]any{"user": "a", "port": 5432}, api.WithCheckAndSet(0))
	check(err, "put")
	expect(first.VersionMetadata.Version == 1, "it is version 1", first)
	_, err = kv.Patch(ctx, "app/db", map[string]any{"password": "ü"})
	check(err, "patch")
	held, err := kv.Get(ctx, "app/db")
	check(err, "get")
	expect(held.Data["password"] == "ü" && held.Data["user"] == "a" && held.VersionMetadata.Version == 2, "it holds both", held)
	_, err = kv.Put(ctx, "app/db", map[string]any{}, api.WithCheckAndSet(1))
	refused(err, "check-and-set parameter did not match", "an old version is refused")
	check(kv.Delete(ctx, "app/db"), "delete")
	gone, err := kv.Get(ctx, "app/db")
	check(err, "a deleted version is shown")
	expect(gone.Data == nil && !gone.VersionMetadata.DeletionTime.IsZero(), "its data is not", gone)
	_, err = kv.Get(ctx, "app/none")
	refused(err, "secret not found", "nothing is not found")
	plain := machine.KVv1("go-v1")
	check(plain.Put(ctx, "one", map[string]any{"a": "1"}), "put in version 1")
	one, err := plain.Get(ctx, "one")
	check(err, "get in version 1")
	expect(one.Data["a"] == "1" && one.Raw.LeaseDuration == 3600, "it is there, with the mount's span", one.Raw)
	names, err := machine.Logical().List("go-v1")
	check(err, "list")
	expect(len(names.Data["keys"].([]any)) == 1, "one name", names.Data)

	// wrapping
	secret, err := wrapped.Logical().Read("go-v1/one")
	check(err, "a wrapped read")
	expect(secret.WrapInfo != nil && secret.WrapInfo.TTL == 60 && secret.Data == nil, "it is wrapped", secret)
	looked, err := client.Logical().Write("sys/wrapping/lookup", map[string]any{"token": secret.WrapInfo.Token})
	check(err, "look up a wrapping token")
	expect(looked.Data["creation_path"] == "go-v1/one", "it tells where it came from", looked.Data)
	again, err := client.Logical().Write("sys/wrapping/rewrap", map[string]any{"token": secret.WrapInfo.Token})
	check(err, "rewrap")
	inner, err := stranger.Logical().Unwrap(again.WrapInfo.Token)
	check(err, "unwrap without another token")
	expect(inner.Data["a"] == "1", "the secret is in it", inner.Data)
	_, err = client.Logical().Unwrap(again.WrapInfo.Token)
	refused(err, "wrapping token is not valid or does not exist", "it is unwrapped once")

	// leases: those of tokens, of which every server has some
	leases, err := client.Logical().List("sys/leases/lookup/auth/go-people/login/ann")
	check(err, "list leases")
	keys := leases.Data["keys"].([]any)
	expect(len(keys) == 1, "one login, one lease", keys)
	id := "auth/go-people/login/ann/" + keys[0].(string)
	lease, err := client.Sys().Lookup(id)
	check(err, "look up a lease")
	expect(lease.Data["id"] == id && lease.Data["renewable"] == true, "it is shown", lease.Data)
	_, err = client.Sys().Renew(id, 60)
	refused(err, "tokens cannot be renewed through this endpoint", "tokens are renewed elsewhere")
	renewed, err := person.Auth().Token().RenewSelf(120)
	check(err, "renew itself")
	expect(renewed.Auth.LeaseDuration == 120 || renewed.Auth.LeaseDuration == 600, "it is renewed", renewed.Auth)
	check(client.Sys().RevokePrefix("auth/go-people"), "revoke all logins of a method")
	_, err = person.Auth().Token().LookupSelf()
	refused(err, "permission denied", "a revoked token is dead")

	// tokens
	batch, err := client.Auth().Token().Create(&api.TokenCreateRequest{Type: "batch", TTL: "1h", Policies: []string{"go-app"}})
	check(err, "a batch token")
	expect(batch.Auth.LeaseDuration == 3600, "it lasts an hour", batch.Auth)
	worker, err := client.Clone()
	check(err, "clone")
	worker.SetToken(batch.Auth.ClientToken)
	_, err = worker.KVv1("go-v1").Get(ctx, "one")
	check(err, "a batch token reads")
	capabilities, err := client.Sys().Capabilities(batch.Auth.ClientToken, "go-v1/one")
	check(err, "capabilities")
	expect(len(capabilities) == 5, "create, delete, list, read, update", capabilities)

	// a watcher renews by itself
	machineToken, err := machine.Auth().Token().LookupSelf()
	check(err, "look up itself")
	expect(machineToken.Data["type"] == "service", "it is a service token", machineToken.Data)

	// audit devices and moving
	check(client.Sys().Remount("go-v1", "go-moved"), "remount")
	moved, err := client.Logical().Read("go-moved/one")
	check(err, "read where it moved")
	expect(moved.Data["a"] == "1", "it moved whole", moved.Data)
	for _, path := range []string{"go-v2", "go-moved"} {
		check(client.Sys().Unmount(path), "unmount")
	}
	check(client.Sys().DisableAuth("go-people"), "disable userpass")
	check(client.Sys().DisableAuth("approle"), "disable approle")
}
