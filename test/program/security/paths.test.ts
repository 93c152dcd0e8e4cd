import { connect } from "node:net";
import { once } from "node:events";
import t from "tap";
import { openStand, packageOf } from "../rights/fixtures/stand.ts";

/**
 * Ids and paths that are written in odd ways, byte by byte over a socket, since a client's library would tidy them up. Whatever is written, it is
 * no route, or the same container under the same rights.
 */
const stand = await openStand(t);
const { berth } = stand;
const author = await stand.addPerson("anna");
const outsider = await stand.addPerson("uma");
const published = await stand.publish("tricks", packageOf("tricks", ["square", "other"]), { authorization: author.token });
if (published.status !== 200) throw new Error(await published.text());
const id = await stand.ready("tricks-square");
const other = await stand.ready("tricks-other");
const { serviceName } = await berth.container("tricks-square");
const as = (token: string) => ({ authorization: token });
const started = await fetch(`${berth.api}/docker/containers/${id}/run?awaitStart=true`, { headers: as(author.token) });
if (started.status !== 200) throw new Error(await started.text());

/** The status line's number, and all that came. */
async function ask(target: string, token: string | undefined, method = "GET"): Promise<{ status: number; all: string }> {
  const { hostname, port } = new URL(berth.base);
  const socket = connect(Number(port), hostname);
  let all = "";
  socket.setEncoding("latin1").on("data", (text: string) => (all += text));
  const line = token === undefined ? "" : `Authorization: ${token}\r\n`;
  socket.write(Buffer.from(`${method} ${target} HTTP/1.1\r\nHost: ${hostname}\r\n${line}Connection: close\r\n\r\n`, "latin1"));
  await once(socket, "close");
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(all)?.[1] ?? 0), all };
}

const PROXY = "/api/docker/containers/proxy";
const CONTAINERS = "/api/docker/containers";

t.test("what is not an id of a container is no container, signed in or not", async (t) => {
  const rows: [target: string, signedIn: number, anonymous: number][] = [
    [`${PROXY}/${id}%2fsquare`, 400, 400],
    [`${PROXY}/%${id.charCodeAt(0).toString(16)}${id.slice(1)}/square`, 400, 400],
    [`${PROXY}/{${id}}/`, 400, 400],
    [`${PROXY}/${id.replaceAll("-", "")}/`, 400, 400],
    [`${PROXY}/${id.replaceAll("-", "\u00ad")}/`, 400, 400],
    [`${PROXY}/${id};x=1/`, 400, 400],
    [`${PROXY}/${id}%00/`, 400, 400],
    [`${PROXY}/${id}\\square`, 400, 400],
    [`${PROXY}/../${id}/square`, 400, 400],
    [`${PROXY}/./${id}/square`, 400, 400],
    [`${PROXY}//${id}/square`, 400, 400],
    [`${PROXY}/00000000-0000-0000-0000-000000000000/`, 404, 401],
  ];
  for (const [target, signedIn, anonymous] of rows) {
    t.equal((await ask(target, author.token)).status, signedIn, target);
    t.equal((await ask(target, undefined)).status, anonymous, `${target} without a user`);
  }
});

t.test("a path that looks like the way to a container and is not is the API's, which knows no such route", async (t) => {
  for (const target of [
    `/api/docker/containers/%70roxy/${id}/square?number=3`,
    `/api/docker/containers/x/../proxy/${id}/square?number=3`,
    `/api//docker/containers/proxy/${id}/square?number=3`,
    `/API/docker/containers/proxy/${id}/square?number=3`,
    `/api/docker/containers/proxy%2f${id}/square?number=3`,
  ]) {
    for (const token of [author.token, undefined]) {
      const { status, all } = await ask(target, token);
      t.equal(status, 404, target);
      t.notMatch(all, /"result"/, "no container has answered");
    }
  }
});

t.test("upper case is the same container, with the same rights", async (t) => {
  const upper = id.toUpperCase();
  t.equal((await ask(`${PROXY}/${upper}/square?number=3`, author.token)).status, 200);
  t.equal((await ask(`${PROXY}/${upper}/square?number=3`, undefined)).status, 401);
  for (const what of ["run", "stop", "logs", "history", "explain", "wakes", "open"])
    t.equal((await ask(`${CONTAINERS}/${upper}/${what}`, outsider.token)).status, 403, what);
  t.equal((await ask(`${CONTAINERS}/${upper}`, outsider.token, "DELETE")).status, 403);
  t.equal((await ask(`${CONTAINERS}/${upper}/logs`, author.token)).status, 200);
});

t.test("behind its id a path is the container's own: no dot of it leads to another one, or to the API", async (t) => {
  for (const path of [`/../${other}/square?number=3`, `/../../../users`, `/%2e%2e/%2e%2e/users`, `/..%2f..%2f..%2fadmin/health`, "//square"]) {
    const { all } = await ask(`${PROXY}/${id}${path}`, author.token);
    t.notMatch(all, /"login"|"#type"|x-berth/i, path);
    t.notMatch(all, /"result":9/, path);
  }
  t.equal((await berth.container("tricks-other")).status, "stopped by system", "nor was it woken");
});

t.test("an id that the API decodes is judged as it then is, under the rights of what it names", async (t) => {
  const encoded = `%${id.charCodeAt(0).toString(16)}${id.slice(1)}`;
  for (const what of ["run", "stop", "logs"]) {
    t.equal((await ask(`${CONTAINERS}/${encoded}/${what}`, outsider.token)).status, 403, what);
    t.equal((await ask(`${CONTAINERS}/${id}%2f..%2f${other}/${what}`, outsider.token)).status, 400, what);
    t.equal((await ask(`${CONTAINERS}/${id}%00/${what}`, author.token)).status, 400, what);
  }
  t.equal((await ask(`/api/docker/services/${serviceName}/logs`, outsider.token)).status, 403, "its logs by its service's name, too");
  t.ok((await ask(`/api/docker/services/..%2f${serviceName}/logs`, author.token)).status >= 400);
});

t.test("a package's name is no path", async (t) => {
  for (const name of ["..%2f..%2fetc", "%2e%2e", "a%2fb%2fc", "tricks%00", "tricks%0a", "\u0442ricks"]) {
    const target = `/api/packages/dev/${Buffer.from(name, "utf8").toString("latin1")}`;
    const { status } = await ask(target, author.token, "POST");
    t.equal(status, 400, JSON.stringify(name));
  }
});
