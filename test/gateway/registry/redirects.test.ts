import t from "tap";
import { redirectRules } from "../../../lib/registry-client/trusted-hosts.ts";
import { openRecorder, openStand, plainUpstream } from "./stand.ts";

const BLOB = "/v2/datagrok/a/blobs/sha256:ab";

t.test("a client gets the registry's redirect", async (t) => {
  const registry = await openRecorder(t, (_, response) => void response.writeHead(307, { location: "http://store.example/ab?signed=1" }).end());
  const { call } = await openStand(t, registry);
  const answer = await call(BLOB);
  t.equal(answer.status, 307);
  t.equal(answer.headers.get("location"), "http://store.example/ab?signed=1");
});

t.test("or it is led there unseen, with its range and without any credential", async (t) => {
  const store = await openRecorder(t, (_, response) => void response.writeHead(206, { "set-cookie": "a=b", "content-length": 2 }).end("la"));
  const registry = await openRecorder(t, (request, response) => {
    if (request.url?.startsWith("/v2/") !== true)
      return void response.writeHead(302, { location: `http://127.0.0.1:${store.port}/ab?signed=a%2Fb` }).end();
    response.writeHead(307, { location: "/next" }).end();
  });
  const upstream = plainUpstream(registry.port, { authorization: () => "Basic c2VjcmV0" });
  const { call } = await openStand(t, registry, { upstream, redirects: "follow", redirectHosts: [`127.0.0.1:${store.port}`] });
  const answer = await call(BLOB, { headers: { range: "bytes=0-1", cookie: "auth=x" }, scopes: ["repository:datagrok/a:pull"] });
  t.equal(answer.status, 206);
  t.equal(await answer.text(), "la");
  t.notOk(answer.headers.has("set-cookie"));
  t.equal(registry.requests[0]?.headers.authorization, "Basic c2VjcmV0");
  t.notOk(registry.requests[1]?.headers.authorization);
  const [received] = store.requests;
  t.equal(received?.url, "/ab?signed=a%2Fb");
  t.equal(received?.headers.range, "bytes=0-1");
  t.equal(received?.headers.host, `127.0.0.1:${store.port}`);
  t.notOk(received?.headers.authorization);
  t.notOk(received?.headers.cookie);
});

t.test("it is led nowhere that is not allowed, nor for ever", async (t) => {
  const secret = await openRecorder(t);
  const registry = await openRecorder(t, (request, response) => {
    const location = request.url?.includes("loop") === true ? "/v2/loop/blobs/sha256:ab" : `http://localhost:${secret.port}/latest/meta-data`;
    response.writeHead(307, { location }).end();
  });
  const { call } = await openStand(t, registry, { redirects: "follow" });
  t.equal((await call(BLOB)).status, 502);
  t.same(secret.requests, []);
  t.equal((await call("/v2/loop/blobs/sha256:ab")).status, 502);
  t.ok(registry.requests.length <= 5);
  t.equal((await call("/v2/datagrok/a/manifests/1")).status, 307, "only blobs are followed");
});

t.test("where redirects may lead", async (t) => {
  const leads = (registry: string, listed: string[], to: string) =>
    redirectRules({ hostname: registry, port: 443 }, listed)
      .targetOf(new URL(to))
      .then((target) => ("host" in target ? `${target.host}:${target.port} ${target.tls?.servername ?? "plain"}` : ""))
      .catch((error: { code: string }) => error.code);
  const ecr = "1234.dkr.ecr.eu-west-1.amazonaws.com";
  t.equal(await leads("127.0.0.1", ["store.example"], "https://store.example/x"), "store.example:443 store.example");
  t.equal(await leads("127.0.0.1", ["*.store.example:8443"], "https://a.store.example:8443/x"), "a.store.example:8443 a.store.example");
  t.equal(await leads("127.0.0.1", ["localhost:9000"], "http://localhost:9000/x"), "localhost:9000 plain");
  t.equal(await leads("10.0.0.1", [], "https://10.0.0.1/x"), "10.0.0.1:443 ");
  t.equal(await leads("64:ff9b::102:304", [], "http://[64:ff9b::102:304]:80/x"), "64:ff9b::102:304:80 plain");
  for (const [registry, listed, to] of [
    [ecr, [], "https://169.254.169.254/latest/meta-data"],
    [ecr, [], "https://amazonaws.com.evil.example/x"],
    [ecr, [], "https://evilamazonaws.com/x"],
    ["registry.example", [], "https://other.example/x"],
    ["127.0.0.1", [], "http://127.0.0.1:8080/x"],
    ["127.0.0.1", [], "http://[::1]/x"],
    ["127.0.0.1", [], "http://[::ffff:127.0.0.1]/x"],
    ["localhost", [], "http://localhost:1/x"],
    ["100.100.100.200", [], "http://100.100.100.200/latest/meta-data"],
    ["192.0.0.192", [], "http://192.0.0.192/latest/meta-data"],
    ["64:ff9b::a9fe:a9fe", [], "http://[64:ff9b::a9fe:a9fe]/latest/meta-data"],
    ["64:ff9b::6464:64c8", [], "http://[64:ff9b::6464:64c8]/latest/meta-data"],
    ["64:ff9b::7f00:1", [], "http://[64:ff9b::7f00:1]/x"],
    ["127.0.0.1", ["*.store.example"], "https://store.example/x"],
    ["127.0.0.1", ["store.example:443"], "https://store.example:444/x"],
    ["registry.example", [], "ftp://registry.example/x"],
  ] as const)
    t.equal(await leads(registry, [...listed], to), "REDIRECT_REFUSED", `${registry} to ${to}`);
});
