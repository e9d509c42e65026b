package main

import (
	"context"

	"github.com/openbao/openbao/api/v2"
)

func walkOpenbao(address, root string) {
	ctx := context.Background()
	config := api.DefaultConfig()
	config.Address = address
	client, err := api.NewClient(config)
	check(err, "a client is made")
	client.SetToken(root)

	health, err := client.Sys().Health()
	check(err, "health")
	expect(health.Initialized && !health.Sealed, "the server is active", health)
	check(client.Sys().Mount("bao-v2", &api.MountInput{Type: "kv-v2"}), "mount kv 2")
	check(client.Sys().PutPolicy("bao-app", `path "bao-v2/*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "scan"] }`), "write a policy")

	// logins
	check(client.Sys().EnableAuthWithOptions("bao-people", &api.EnableAuthOptions{Type: "userpass"}), "enable userpass")
	_, err = client.Logical().Write("auth/bao-people/users/bob", map[string]any{"password": "p4ss", "token_policies": "bao-app"})
	check(err, "make a user")
	person, err := client.Clone()
	check(err, "clone")
	login, err := person.Logical().Write("auth/bao-people/login/bob", map[string]any{"password": "p4ss"})
	check(err, "log in with a password")
	person.SetToken(login.Auth.ClientToken)
	check(client.Sys().EnableAuthWithOptions("bao-role", &api.EnableAuthOptions{Type: "approle"}), "enable approle")
	_, err = client.Logical().Write("auth/bao-role/role/ci", map[string]any{"token_policies": "bao-app"})
	check(err, "make a role")
	roleID, err := client.Logical().Read("auth/bao-role/role/ci/role-id")
	check(err, "role id")
	secretID, err := client.Logical().Write("auth/bao-role/role/ci/secret-id", nil)
	check(err, "secret id")
	login, err = client.Logical().Write("auth/bao-role/login", map[string]any{"role_id": roleID.Data["role_id"], "secret_id": secretID.Data["secret_id"]})
	check(err, "log in with a role")
	expect(login.Auth.Metadata["role_name"] == "ci", "the login names its role", login.Auth)

	// KV, with what only this client asks for
	kv := person.KVv2("bao-v2")
	for _, name := range []string{"app/a", "app/b", "app/deep/c", "z"} {
		_, err = kv.Put(ctx, name, map[string]any{"name": name})
		check(err, "put")
	}
	held, err := kv.Get(ctx, "app/deep/c")
	check(err, "get")
	expect(held.Data["name"] == "app/deep/c", "it is there", held.Data)
	page, err := person.Logical().ListPage("bao-v2/metadata/app", "a", 1)
	check(err, "a page of a list")
	expect(len(page.Data["keys"].([]any)) == 1 && page.Data["keys"].([]any)[0] == "b", "one name after a", page.Data)
	all, err := person.Logical().Scan("bao-v2/metadata")
	check(err, "scan")
	expect(len(all.Data["keys"].([]any)) == 4, "all names at once", all.Data)

	// wrapping
	wrapping, err := person.Clone()
	check(err, "clone")
	wrapping.SetToken(person.Token())
	wrapping.SetWrappingLookupFunc(func(operation, path string) string { return "5m" })
	wrapped, err := wrapping.Logical().Read("bao-v2/data/z")
	check(err, "a wrapped read")
	inner, err := client.Logical().Unwrap(wrapped.WrapInfo.Token)
	check(err, "unwrap")
	expect(inner.Data["data"].(map[string]any)["name"] == "z", "the secret is in it", inner.Data)
	_, err = client.Logical().Unwrap(wrapped.WrapInfo.Token)
	expect(err != nil, "it is unwrapped once")

	// leases
	leases, err := client.Logical().List("sys/leases/lookup/auth/bao-people/login/bob")
	check(err, "list leases")
	lease, err := client.Sys().Lookup("auth/bao-people/login/bob/" + leases.Data["keys"].([]any)[0].(string))
	check(err, "look up a lease")
	expect(lease.Data["renewable"] == true, "it is shown", lease.Data)
	_, err = person.Auth().Token().RenewSelf(60)
	check(err, "renew itself")
	check(client.Sys().RevokePrefix("auth/bao-people"), "revoke all logins of a method")
	_, err = person.Auth().Token().LookupSelf()
	refused(err, "permission denied", "a revoked token is dead")
	check(client.Sys().Unmount("bao-v2"), "unmount")
	for _, path := range []string{"bao-people", "bao-role"} {
		check(client.Sys().DisableAuth(path), "disable")
	}
}
