import { request } from "node:http";
import { text } from "node:stream/consumers";
import t from "tap";
import { openControlCluster } from "../fixtures/control-cluster.ts";
import { eventually } from "../fixtures/eventually.ts";
import { CLIENT_ID, CLIENT_SECRET, startOidcProvider, visitProvider } from "../fixtures/oidc-provider.ts";
import { startPostgres } from "../fixtures/postgres.ts";
import { tempFolder } from "../fixtures/temp-folder.ts";

/** Two control processes and a gateway with real PostgreSQL, behind a load balancer that ends TLS. */
t.setTimeout(180_000);

const provider = await startOidcProvider(t, { anna: { sub: "id-of-anna", preferred_username: "anna", groups: ["lab"] } });
await provider.allow("https://console.example/console/signed-in");
const server = await startPostgres(t);
const cluster = await openControlCluster(t, {
  folder: tempFolder(t),
  postgres: await server.database(),
  controls: 2,
  gateways: 1,
  env: {
    BERTH_OIDC_ISSUER: provider.issuer,
    BERTH_OIDC_CLIENT_ID: CLIENT_ID,
    BERTH_OIDC_CLIENT_SECRET: CLIENT_SECRET,
    BERTH_OIDC_ALLOWED_GROUPS: "lab",
    BERTH_CONSOLE_HOST: "console.example",
    BERTH_CONSOLE_URL: "https://console.example",
    BERTH_WEB_ROOT: "https://edge.example",
  },
});
const [client] = cluster.gateways;
if (!client) throw new Error("no gateway");

/** To the console's host name, as the load balancer sends it. */
function post(path: string, body?: object) {
  const { hostname, port } = new URL(client?.base ?? "");
  const bytes = body === undefined ? undefined : JSON.stringify(body);
  return new Promise<{ status: number; cookie: string; json: Record<string, string> }>((resolve, reject) => {
    const headers = {
      host: "console.example",
      ...(bytes === undefined ? {} : { "content-type": "application/json", "content-length": bytes.length }),
    };
    const sent = request({ hostname, port, method: "POST", path, headers }, (response) => {
      text(response).then(
        (answer) =>
          resolve({
            status: response.statusCode ?? 0,
            cookie: response.headers["set-cookie"]?.join() ?? "",
            json: JSON.parse(answer) as Record<string, string>,
          }),
        reject,
      );
    });
    sent.once("error", reject);
    sent.end(bytes);
  });
}

t.test("a sign-in that one leader began is finished by the next one", async (t) => {
  const leader = await cluster.leader();
  const begun = await post("/console/sign-in/begin");
  t.equal(begun.status, 200);
  t.equal(new URL(begun.json["url"] ?? "").searchParams.get("redirect_uri"), "https://console.example/console/signed-in");
  const device = (await (await client.call("/users/login/device", { method: "POST" })).json()) as { handle: string };
  const { search } = await visitProvider(begun.json["url"] ?? "", "anna");
  await leader.stop("SIGKILL");
  leader.start();
  await eventually("another leader", async () => (await client.call("/users/current")).status === 200 || undefined);

  const finished = await post("/console/sign-in/finish", { sealed: begun.json["sealed"], path: "/console/signed-in", search });
  t.equal(finished.status, 200, JSON.stringify(finished.json));
  t.match(finished.cookie, /^berth-console=.*; HttpOnly; SameSite=Strict; Secure$/);
  const polled = await client.call("/users/login/device/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ handle: device.handle }),
  });
  t.match(await polled.json(), { isPending: true }, "the code of the device is known too");
  t.match(await (await client.call("/admin/users/anna")).json(), { subject: "id-of-anna" });
});
