import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { importPKCS8, SignJWT } from "jose";
import type { Test } from "tap";
import { tempFolder } from "../../../fixtures/temp-folder.ts";
import { listen } from "../../../fixtures/server.ts";

type TokenQuery = { scopes: string[]; authorization: string | undefined };

/** A registry's token server, with an own key, whose certificate Distribution is set up to trust. */
export async function openTokenServer(t: Test, login: { username: string; password: string }) {
  const folder = tempFolder(t);
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "1", "-subj", "/CN=tokens", "-keyout", key, "-out", cert], {
    stdio: "pipe",
  });
  const signing = await importPKCS8(readFileSync(key, "utf8"), "RS256");
  const x5c = [readFileSync(cert, "utf8").replace(/-----[A-Z ]+-----|\s/g, "")];
  const wanted = `Basic ${Buffer.from(`${login.username}:${login.password}`).toString("base64")}`;
  const requests: TokenQuery[] = [];
  /** Statuses that the next asks are answered with before any token; what their Retry-After says. */
  const failures: { status: number; retryAfter?: string }[] = [];
  /** What the answer adds to or takes from the usual; `lifeSeconds` is the token's true life. */
  const shape: { lifeSeconds: number; answer: Record<string, unknown> } = { lifeSeconds: 300, answer: { expires_in: 300 } };

  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? "/", "http://tokens");
    const { authorization } = request.headers;
    const scopes = url.searchParams.getAll("scope");
    requests.push({ scopes, authorization });
    const failure = failures.shift();
    if (failure) {
      response.writeHead(failure.status, failure.retryAfter === undefined ? {} : { "retry-after": failure.retryAfter }).end();
      return;
    }
    if (authorization !== undefined && authorization !== wanted) {
      response.writeHead(401).end();
      return;
    }
    const access = scopes.flatMap((scope) => {
      const [, type, name, actions = ""] = /^(\w+):(.+):([^:]+)$/.exec(scope) ?? [];
      // Only the user may push.
      return [{ type, name, actions: actions.split(",").filter((action) => authorization !== undefined || action === "pull") }];
    });
    const now = Math.floor(Date.now() / 1_000);
    const token = await new SignJWT({ access })
      .setProtectedHeader({ alg: "RS256", typ: "JWT", x5c })
      .setIssuer("tokens")
      .setSubject("ada")
      .setAudience(url.searchParams.get("service") ?? "")
      .setIssuedAt(now)
      .setNotBefore(now - 10)
      .setExpirationTime(now + shape.lifeSeconds)
      .setJti(String(requests.length))
      .sign(signing);
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ token, ...shape.answer }));
  });
  const { port } = await listen(t, server);
  const realm = `http://127.0.0.1:${port}/token`;
  const auth = () => `auth: { token: { realm: '${realm}', service: 'the registry', issuer: tokens, rootcertbundle: ${cert} } }`;
  return { requests, failures, shape, realm, auth };
}
