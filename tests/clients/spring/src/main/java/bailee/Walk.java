package bailee;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.springframework.http.client.SimpleClientHttpRequestFactory;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;
import org.springframework.vault.VaultException;
import org.springframework.vault.authentication.AppRoleAuthentication;
import org.springframework.vault.authentication.AppRoleAuthenticationOptions;
import org.springframework.vault.authentication.AppRoleAuthenticationOptions.RoleId;
import org.springframework.vault.authentication.AppRoleAuthenticationOptions.SecretId;
import org.springframework.vault.authentication.ClientAuthentication;
import org.springframework.vault.authentication.LifecycleAwareSessionManager;
import org.springframework.vault.authentication.TokenAuthentication;
import org.springframework.vault.authentication.UsernamePasswordAuthentication;
import org.springframework.vault.authentication.UsernamePasswordAuthenticationOptions;
import org.springframework.vault.client.VaultClients;
import org.springframework.vault.client.VaultEndpoint;
import org.springframework.vault.core.VaultKeyValueOperationsSupport.KeyValueBackend;
import org.springframework.vault.core.VaultTemplate;
import org.springframework.vault.support.Policy;
import org.springframework.vault.support.Policy.BuiltinCapabilities;
import org.springframework.vault.support.VaultMount;
import org.springframework.vault.support.VaultToken;
import org.springframework.vault.support.VaultTokenRequest;
import org.springframework.vault.support.Versioned;

/**
 * spring-vault, unchanged, against a server of ours.
 *
 * <p>usage: Walk ADDRESS (the root token comes on standard input)
 */
public final class Walk {
    public static void main(String[] arguments) throws Exception {
        var token = new BufferedReader(new InputStreamReader(System.in)).readLine().trim();
        var endpoint = VaultEndpoint.from(URI.create(arguments[0]));
        var root = new VaultTemplate(endpoint, new TokenAuthentication(token));
        var http = VaultClients.createRestTemplate(endpoint, new SimpleClientHttpRequestFactory());

        var sys = root.opsForSys();
        expect(sys.isInitialized() && !sys.health().isSealed(), "the server is open");
        expect(!sys.getUnsealStatus().isSealed(), "its status says so too");
        sys.mount("spring-v2", VaultMount.builder().type("kv").options(Map.of("version", "2")).build());
        sys.mount("spring-v1", VaultMount.create("kv"));
        expect(sys.getMounts().get("spring-v2/").getOptions().get("version").equals("2"), "it is mounted");
        var all = List.of(BuiltinCapabilities.CREATE, BuiltinCapabilities.READ, BuiltinCapabilities.UPDATE,
                BuiltinCapabilities.DELETE, BuiltinCapabilities.LIST);
        var policy = Policy.of(
                Policy.Rule.builder().path("spring-v2/*").capabilities(all.toArray(new BuiltinCapabilities[0])).build(),
                Policy.Rule.builder().path("spring-v1/*").capabilities(all.toArray(new BuiltinCapabilities[0])).build());
        sys.createOrUpdatePolicy("spring-app", policy);
        expect(sys.getPolicyNames().contains("spring-app"), "the policy is listed");
        expect(Objects.requireNonNull(sys.getPolicy("spring-app")).getRules().size() == 2, "the policy is read back");

        // logins
        sys.authMount("spring-people", VaultMount.create("userpass"));
        root.write("auth/spring-people/users/dan", Map.of("password", "p4ss", "token_policies", "spring-app"));
        sys.authMount("spring-roles", VaultMount.create("approle"));
        root.write("auth/spring-roles/role/ci", Map.of("token_policies", "spring-app", "token_ttl", "1h"));
        var roleId = (String) root.read("auth/spring-roles/role/ci/role-id").getRequiredData().get("role_id");
        var secretId = (String) root.write("auth/spring-roles/role/ci/secret-id", Map.of()).getRequiredData().get("secret_id");
        var person = template(endpoint, new UsernamePasswordAuthentication(
                UsernamePasswordAuthenticationOptions.builder().path("spring-people").username("dan").password("p4ss").build(), http));
        var machine = template(endpoint, new AppRoleAuthentication(
                AppRoleAuthenticationOptions.builder().path("spring-roles").roleId(RoleId.provided(roleId))
                        .secretId(SecretId.provided(secretId)).build(), http));
        refused("a wrong password is refused", () -> template(endpoint, new UsernamePasswordAuthentication(
                UsernamePasswordAuthenticationOptions.builder().path("spring-people").username("dan").password("no").build(), http))
                .read("spring-v1/one"));

        // KV of both versions
        var versioned = person.opsForVersionedKeyValue("spring-v2");
        var first = versioned.put("app/db", Map.of("user", "a"));
        expect(first.getVersion().getVersion() == 1, "it is version 1");
        versioned.put("app/db", Versioned.create(Map.of("user", "b"), Versioned.Version.from(1)));
        refused("an old version is refused",
                () -> versioned.put("app/db", Versioned.create(Map.of("user", "c"), Versioned.Version.from(1))));
        expect(Map.of("user", "b").equals(versioned.get("app/db").getRequiredData()), "the newest is read");
        expect(Map.of("user", "a").equals(versioned.get("app/db", Versioned.Version.from(1)).getRequiredData()), "and the first");
        versioned.delete("app/db");
        expect(versioned.get("app/db").getData() == null, "a deleted version has no data");
        versioned.undelete("app/db", Versioned.Version.from(2));
        expect(versioned.opsForKeyValueMetadata().get("app/db").getCurrentVersion() == 2, "its metadata is read");
        expect(versioned.list("").equals(List.of("app/")), "it is listed");
        var plain = machine.opsForKeyValue("spring-v1", KeyValueBackend.KV_1);
        plain.put("one", Map.of("a", "1"));
        expect(plain.get("one").getRequiredData().get("a").equals("1"), "version 1 holds it");
        expect(plain.get("none") == null, "nothing is nothing");

        // wrapping
        var wrapping = root.opsForWrapping();
        var wrapped = wrapping.wrap(Map.of("inner", "secret"), Duration.ofMinutes(1));
        expect(wrapping.lookup(wrapped.getToken()).getPath().equals("sys/wrapping/wrap"), "it tells where it came from");
        var again = wrapping.rewrap(wrapped.getToken());
        expect(wrapping.read(again.getToken()).getRequiredData().get("inner").equals("secret"), "it is unwrapped");
        expect(wrapping.read(again.getToken()) == null, "once");

        // tokens and leases
        var made = root.opsForToken().create(VaultTokenRequest.builder().ttl(Duration.ofHours(1)).withPolicy("spring-app").renewable().build());
        expect(made.getAuth() != null && Boolean.TRUE.equals(made.getAuth().get("renewable")), "a token is made");
        expect(root.opsForToken().renew(made.getToken()).getAuth() != null, "it is renewed");
        root.opsForToken().revoke(made.getToken());
        refused("it is revoked", () -> new VaultTemplate(endpoint, new TokenAuthentication(made.getToken())).read("spring-v1/one"));
        var scheduler = new ThreadPoolTaskScheduler();
        scheduler.initialize();
        var sessions = new LifecycleAwareSessionManager(new AppRoleAuthentication(
                AppRoleAuthenticationOptions.builder().path("spring-roles").roleId(RoleId.provided(roleId))
                        .secretId(SecretId.provided(secretId)).build(), http), scheduler, http);
        VaultToken session = sessions.getSessionToken();
        expect(sessions.renewToken() && sessions.getSessionToken().equals(session), "a session renews itself");
        sessions.destroy();
        scheduler.shutdown();
        refused("and revokes itself", () -> new VaultTemplate(endpoint, new TokenAuthentication(session)).read("spring-v1/one"));
        var leases = root.list("sys/leases/lookup/auth/spring-people/login/dan");
        expect(leases.size() >= 1, "logins have leases");
        var lease = "auth/spring-people/login/dan/" + leases.get(0);
        expect(root.write("sys/leases/lookup", Map.of("lease_id", lease)).getRequiredData().get("id").equals(lease), "they are shown");
        root.write("sys/leases/revoke", Map.of("lease_id", lease));

        for (var path : List.of("spring-v1", "spring-v2")) sys.unmount(path);
        for (var path : List.of("spring-people", "spring-roles")) sys.authUnmount(path);
        System.out.println("spring-vault is content");
    }

    private static VaultTemplate template(VaultEndpoint endpoint, ClientAuthentication login) {
        return new VaultTemplate(endpoint, login);
    }

    private static void expect(boolean holds, String what) {
        if (!holds) throw new AssertionError("not so: " + what);
    }

    private static void refused(String what, Runnable call) {
        try {
            call.run();
        } catch (VaultException | org.springframework.web.client.HttpStatusCodeException refusal) {
            return;
        }
        throw new AssertionError("not so: " + what);
    }
}
