import t from "tap";
import { echoHead, exchange, get, ID, openContainer, openStand, PATH } from "../../gateway/stand.ts";

/** What a container learns about the caller: plugins decide by it, so no client may set it, nor remove it. */
for (const forwarder of ["splice", "http-proxy"] as const) {
  t.test(`with ${forwarder}, no header of a client takes another's place, or takes away what the gateway says`, async (t) => {
    const stand = await openStand(t, { forwarder });
    const { address } = await openContainer(t, echoHead);
    stand.set(ID, { kind: "awake", address });
    const received = async (lines: string[]) => {
      const answer = await exchange(stand.port, get(PATH, lines));
      const raw = JSON.parse(answer.slice(answer.indexOf("{"), answer.lastIndexOf("}") + 1)).rawHeaders as string[];
      return raw.flatMap((name, at) => (at % 2 === 0 ? [[name.toLowerCase(), raw[at + 1] ?? ""] as const] : []));
    };
    const valuesOf = (lines: readonly (readonly [string, string])[], name: string) =>
      lines.filter(([known]) => known === name).map(([, value]) => value);

    const unsaid = await received(["Connection: x-user-api-key, x-forwarded-for, x-forwarded-proto, authorization, host, traceparent, close"]);
    t.same(valuesOf(unsaid, "x-user-api-key"), ["token"]);
    t.same(valuesOf(unsaid, "authorization"), ["token"]);
    t.same(valuesOf(unsaid, "x-forwarded-for"), ["127.0.0.1"]);
    t.equal(valuesOf(unsaid, "traceparent").length, 1);
    t.equal(valuesOf(unsaid, "host").length, 1);

    const headers = await received([
      "X-Forwarded-For: 10.9.9.9",
      "X-Real-IP: 10.9.9.9",
      "Forwarded: for=10.9.9.9;proto=https",
      "X-Forwarded-Proto: https",
      "X-Forwarded-Host: evil",
    ]);
    t.notOk(
      headers.some(([, value]) => value.includes("10.9.9.9") || value === "evil"),
      "an untrusted client's forwarded headers",
    );
    t.same(valuesOf(headers, "x-forwarded-proto"), ["http"]);

    // Servers that turn `_` into `-`, as CGI and WSGI do, would read these as the gateway's own.
    const alike = await received(["X_User_Api_Key: stolen", "X_Forwarded_For: 10.9.9.9"]);
    t.same(
      alike.filter(([, value]) => value === "stolen" || value === "10.9.9.9"),
      [],
    );
  });
}
