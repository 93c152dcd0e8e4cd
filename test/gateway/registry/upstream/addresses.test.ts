import t from "tap";
import { systemClock } from "../../../../lib/clock.ts";
import { openRegistryHttp } from "../../../../gateway/registry/upstream/upstream.ts";
import { challengeUpstream, scopeOf, withScopes } from "../../../../gateway/registry/upstream/challenge-upstream.ts";
import { upstreamSource, readImageName, openImageRegistry } from "../../../../gateway/registry/upstream/image-registry.ts";
import { parseChallenges } from "../../../../lib/registry-client/registry-login.ts";
import { parseRegistryAddress, upstreamPlace } from "../../../../gateway/registry/upstream/registry-address.ts";
import { realmTrust } from "../../../../lib/registry-client/trusted-hosts.ts";
import { Fault } from "../../../../lib/fault.ts";

const faultOf = (act: () => unknown) => {
  try {
    act();
  } catch (error) {
    return error instanceof Fault ? error.code : "another error";
  }
  return undefined;
};

t.test("a registry's address is a host, a host with a port, or a URL", async (t) => {
  for (const [given, root, port] of [
    ["registry.example", "https://registry.example", 443],
    ["Registry.Example:443", "https://registry.example", 443],
    ["registry.example:8443", "https://registry.example:8443", 8443],
    ["registry:5000", "http://registry:5000", 5000],
    ["https://registry:5000", "https://registry:5000", 5000],
    ["localhost:8080", "http://localhost:8080", 8080],
    ["127.0.0.1", "http://127.0.0.1", 80],
    ["[::1]:5001", "http://[::1]:5001", 5001],
    ["http://registry.example/", "http://registry.example", 80],
    ["https://registry.example/a/b/", "https://registry.example/a/b", 443],
    ["https://registry.example/a/v2/", "https://registry.example/a", 443],
    ["docker.io", "https://registry-1.docker.io", 443],
    ["https://index.docker.io/v1/", "https://registry-1.docker.io", 443],
    ["123456789012.dkr.ecr.eu-west-1.amazonaws.com", "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com", 443],
  ] as const) {
    const address = parseRegistryAddress(given);
    t.equal(address.root, root, given);
    t.equal(address.target.port, port, given);
    t.equal(address.target.tls !== undefined, root.startsWith("https:"), given);
  }
  t.equal(parseRegistryAddress("[::1]:5001").target.host, "::1");
  for (const wrong of ["", "ftp://x", "unix:///x", "https://", "https://me:secret@registry", "https://registry?x=1", "a b"]) {
    t.equal(
      faultOf(() => parseRegistryAddress(wrong)),
      "SETTINGS_INVALID",
      wrong,
    );
  }
});

t.test("Docker Hub keeps names of one part below library/", async (t) => {
  const { nameOf } = upstreamPlace(parseRegistryAddress("docker.io"));
  t.strictSame(["nginx", "library/nginx", "datagrok/x"].map(nameOf), ["library/nginx", "library/nginx", "datagrok/x"]);
  t.equal(upstreamPlace(parseRegistryAddress("ghcr.io")).nameOf("nginx"), "nginx");
});

t.test("Docker Hub as the registry that is set up is named as engines name it", async (t) => {
  const http = openRegistryHttp({ clock: systemClock() });
  const upstream = challengeUpstream(parseRegistryAddress("docker.io"), { login: undefined, http, file: undefined, clock: systemClock() });
  const login = { username: "a", password: "b" };
  const source = upstreamSource(upstream, { http: openRegistryHttp({ clock: systemClock() }), namedAs: undefined, login: async () => login });
  t.teardown(() => source.close());
  const images = openImageRegistry([source]);
  t.strictSame(images.fullNames("nginx:1"), ["docker.io/library/nginx:1"]);
  t.strictSame(images.fullNames("docker.io/datagrok/x"), ["docker.io/datagrok/x:latest"]);
  t.strictSame(images.fullNames("quay.io/x/y"), []);
  t.strictSame(await images.login("docker.io", { signal: AbortSignal.timeout(1_000) }), login);
});

t.test("credentials go to token servers of the registry's own domain only", async (t) => {
  for (const [registry, realm, trust] of [
    ["registry-1.docker.io", "https://auth.docker.io/token", "credentials"],
    ["ghcr.io", "https://ghcr.io/token", "credentials"],
    ["registry.example.co.uk", "https://auth.example.co.uk/token", "credentials"],
    ["registry.example.co.uk", "https://other.co.uk/token", "question"],
    ["one.github.io", "https://two.github.io/token", "question"],
    ["registry-1.docker.io", "https://auth.docker.io.evil.example/token", "question"],
    ["registry-1.docker.io", "https://evildocker.io/token", "question"],
    ["registry-1.docker.io", "http://auth.docker.io/token", "nothing"],
    ["registry.example", "https://127.0.0.1/token", "nothing"],
    ["registry.example", "https://localhost/token", "nothing"],
    ["registry.example", "https://[::1]/token", "nothing"],
    ["registry.example", "https://169.254.169.254/latest", "nothing"],
    ["registry.example", "https://internal/token", "nothing"],
    ["registry.example", "https://2130706433/token", "nothing"],
    ["registry.example", "https://user:secret@registry.example/token", "nothing"],
    ["10.0.0.1", "https://10.0.0.1:9000/token", "credentials"],
    ["10.0.0.1", "https://10.0.0.2/token", "nothing"],
    ["localhost:8443", "https://127.0.0.1/token", "nothing"],
  ] as const) {
    const { hostname } = parseRegistryAddress(`https://${registry}`);
    t.equal(realmTrust(new URL(realm), { hostname, secure: true }), trust, `${registry} ${realm}`);
  }
  t.equal(realmTrust(new URL("http://registry/token"), { hostname: "registry", secure: false }), "credentials");
  t.equal(realmTrust(new URL("http://a.example.org/token"), { hostname: "b.example.net", secure: false }), "nothing");
});

t.test("challenges are read with what is quoted in them", async (t) => {
  const read = (header: string) => parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
  t.strictSame(read('Bearer realm="https://a/t?x=1,2",service="a \\"b\\"", scope="repository:x:pull,push"'), [
    ["bearer", { realm: "https://a/t?x=1,2", service: 'a "b"', scope: "repository:x:pull,push" }],
  ]);
  t.strictSame(read('Basic realm="one", Bearer realm=two,Error=x'), [
    ["basic", { realm: "one" }],
    ["bearer", { realm: "two", error: "x" }],
  ]);
  t.strictSame(read("Negotiate, Basic"), [
    ["negotiate", {}],
    ["basic", {}],
  ]);
  t.strictSame(read(""), []);
  t.strictSame(read(`Bearer realm="${"x".repeat(10_000)}"`), []);
  t.strictSame(read('Bearer realm="unended'), [["bearer", {}]]);
});

t.test("scopes say what is to be done, and with what else the registry asks for", async (t) => {
  const same = (repository: string) => repository;
  t.equal(scopeOf({ repository: "x", actions: ["push"] }, same), "repository:x:pull,push");
  t.equal(scopeOf({ repository: "x", actions: ["delete", "pull"] }, same), "repository:x:pull,delete");
  t.equal(scopeOf({ repository: undefined, actions: ["pull"] }, same), "registry:catalog:*");
  t.equal(scopeOf({ repository: undefined, actions: [] }, same), "");
  t.equal(withScopes("repository:x:pull", "repository:y:pull repository:x:pull"), "repository:x:pull repository:y:pull");
  t.equal(withScopes("repository:x:pull,push", "repository:x:push,pull"), "repository:x:pull,push");
  t.equal(withScopes("repository:x:pull", undefined), "repository:x:pull");
});

t.test("an image's name has a registry, a repository and a tag or digest", async (t) => {
  const digest = `sha256:${"0".repeat(64)}`;
  for (const [ref, host, repository, version] of [
    ["nginx", undefined, "nginx", "latest"],
    ["datagrok/x:1.0", undefined, "datagrok/x", "1.0"],
    ["localhost/x:1", "localhost", "x", "1"],
    ["registry:5000/a/b", "registry:5000", "a/b", "latest"],
    ["registry.example/a/b:1", "registry.example", "a/b", "1"],
    ["[::1]:5000/a:1", "[::1]:5000", "a", "1"],
    [`a/b:1@${digest}`, undefined, "a/b", digest],
  ] as const) {
    const { suffix: _, ...name } = readImageName(ref);
    t.strictSame(name, { host, repository, version }, ref);
  }
  for (const wrong of ["", "A/b", "a/../b", "a:b:c", "a b", "a@sha256:1", "/a", "x".repeat(600)]) {
    t.equal(
      faultOf(() => readImageName(wrong)),
      "IMAGE_REFERENCE_INVALID",
      wrong,
    );
  }
});
