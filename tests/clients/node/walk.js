// node-vault, unchanged, against a server of ours.
//
//   usage: node walk.js ADDRESS      (the root token comes on standard input)

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import vault from "node-vault";

const endpoint = process.argv[2];
const token = readFileSync(0, "utf8").trim();
const root = vault({ endpoint, token });
const withToken = (token) => vault({ endpoint, token });
const status = (code) => (error) => error.response?.statusCode === code;

assert.equal((await root.health()).sealed, false);
assert.equal((await root.initialized()).initialized, true);
assert.equal((await root.status()).type, "shamir");

// mounts and policies
await root.mount({ mount_point: "node-v2", type: "kv", options: { version: 2 } });
await root.mount({ mount_point: "node-v1", type: "kv", options: { version: 1 } });
assert.equal((await root.mounts())["node-v2/"].options.version, "2");
const rules = 'path "node-v*" { capabilities = ["create", "read", "update", "delete", "list"] }';
await root.addPolicy({ name: "node-app", rules });
assert.ok((await root.policies()).policies.includes("node-app"));
assert.equal((await root.getPolicy({ name: "node-app" })).rules, rules);

// logins
await root.enableAuth({ mount_point: "userpass", type: "userpass" });
await root.write("auth/userpass/users/cleo", { password: "p4ss", token_policies: "node-app" });
const person = withToken("");
const login = await person.userpassLogin({ username: "cleo", password: "p4ss" });
assert.deepEqual(login.auth.policies, ["default", "node-app"]);
assert.equal(login.auth.metadata.username, "cleo");
await assert.rejects(withToken("").userpassLogin({ username: "cleo", password: "no" }), status(400));
await root.enableAuth({ mount_point: "approle", type: "approle" });
await root.addApproleRole({ role_name: "node-ci", policies: "node-app", secret_id_num_uses: 1 });
const role_id = (await root.getApproleRoleId({ role_name: "node-ci" })).data.role_id;
const secret_id = (await root.getApproleRoleSecret({ role_name: "node-ci" })).data.secret_id;
const machine = withToken("");
assert.equal((await machine.approleLogin({ role_id, secret_id })).auth.metadata.role_name, "node-ci");
await assert.rejects(withToken("").approleLogin({ role_id, secret_id }), status(400));

// KV of both versions; lists by the LIST method
await person.write("node-v2/data/app/db", { data: { user: "a", password: "ü" } });
assert.equal((await machine.read("node-v2/data/app/db")).data.data.password, "ü");
assert.deepEqual((await machine.list("node-v2/metadata")).data.keys, ["app/"]);
await person.write("node-v1/one", { a: "1" });
assert.deepEqual((await machine.read("node-v1/one")).data, { a: "1" });
await assert.rejects(person.read("node-v1/none"), status(404));
await assert.rejects(person.read("sys/policy"), status(403));

// wrapping
const wrapped = await machine.read("node-v1/one", { headers: { "X-Vault-Wrap-TTL": "60" } });
assert.equal(wrapped.data, null);
assert.deepEqual((await root.unwrap({ token: wrapped.wrap_info.token })).data, { a: "1" });
await assert.rejects(root.unwrap({ token: wrapped.wrap_info.token }), status(400));

// tokens and leases
const made = (await withToken(token).tokenCreate({ policies: ["node-app"], ttl: "1h", meta: { who: "node" } })).auth;
assert.equal((await root.tokenLookupAccessor({ accessor: made.accessor })).data.meta.who, "node");
assert.equal((await withToken(made.client_token).tokenRenewSelf({ increment: "2h" })).auth.renewable, true);
const leases = (await root.list("sys/leases/lookup/auth/userpass/login/cleo")).data.keys;
assert.equal(leases.length, 1);
const lease_id = `auth/userpass/login/cleo/${leases[0]}`;
assert.equal((await root.write("sys/leases/lookup", { lease_id })).data.id, lease_id);
await root.revoke({ lease_id });
await assert.rejects(person.tokenLookupSelf(), status(403));
await root.tokenRevokeAccessor({ accessor: made.accessor });
await assert.rejects(withToken(made.client_token).tokenLookupSelf(), status(403));

// audit devices and the rest of its surface
assert.ok((await root.audits()) !== undefined);
await root.rotate();
await root.remount({ from: "node-v1", to: "node-moved" });
assert.deepEqual((await machine.read("node-v2/data/app/db")).data.metadata.version, 1);
for (const mount_point of ["node-v2", "node-moved"]) await root.unmount({ mount_point });
for (const mount_point of ["userpass", "approle"]) await root.disableAuth({ mount_point });
console.log("node-vault is content");
