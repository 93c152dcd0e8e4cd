import t from "tap";
import { openLifecycleFixture, USER } from "./lifecycle-fixture.ts";
import { eventually } from "../../fixtures/eventually.ts";

const tcp = { ports: { first: 20_000, last: 20_002 }, host: "berth.internal", images: [{ name: "postgres", port: 5432 }] };

t.test("a container with tcp gets a port of the range, and keeps it over restarts and republishing", async (t) => {
  const stand = await openLifecycleFixture(t, { tcp });
  const { id } = await stand.publish({ name: "web" });
  const { id: one } = await stand.publish({ name: "one", config: { tcp: true } });
  const { id: two } = await stand.publish({ name: "two", config: { tcp: true } });
  t.equal(stand.row(id).tcpPort, undefined);
  t.strictSame([stand.row(one).tcpPort, stand.row(two).tcpPort], [20_000, 20_001]);
  t.strictSame(stand.lifecycle().listenerOf(stand.row(two)), { host: "berth.internal", port: 20_001 });
  t.strictSame(stand.lifecycle().viewOf(stand.row(two)).tcp, { port: 20_001 });
  t.notOk("tcp" in stand.lifecycle().viewOf(stand.row(id)), "the view of others has no port");

  await stand.restart();
  await stand.lifecycle().definitionChanged(two);
  t.strictSame([stand.row(one).tcpPort, stand.row(two).tcpPort], [20_000, 20_001]);
});

t.test("the port is released with its container, and with its tcp", async (t) => {
  const stand = await openLifecycleFixture(t, { tcp });
  const ids: string[] = [];
  for (const name of ["a", "b", "c"]) ids.push((await stand.publish({ name, config: { tcp: true } })).id);
  const [a = "", b = ""] = ids;
  const { id: late } = await stand.publish({ name: "late", config: { tcp: true } });
  t.equal(stand.row(late).tcpPort, undefined, "none is left");

  await stand.lifecycle().remove(a);
  await stand.lifecycle().definitionChanged(late);
  t.equal(stand.row(late).tcpPort, 20_000);

  await stand.store().containers.update(b, { config: { ...stand.row(b).config, tcp: false } });
  await stand.lifecycle().definitionChanged(b);
  t.equal(stand.row(b).tcpPort, undefined);
  t.notOk("tcp" in stand.lifecycle().viewOf(stand.row(b)));
});

t.test("an image of the setting counts, by its name or that of the image that its Dockerfile begins from", async (t) => {
  const stand = await openLifecycleFixture(t, { tcp });
  const from = (image: string) => `FROM golang:1 AS build\nRUN make\nFROM ${image}\nCOPY --from=build /x /x\n`;
  const { id: based } = await stand.publish({ name: "dbtests", dockerfile: from("docker.io/library/postgres:16-alpine") });
  const { id: other } = await stand.publish({ name: "other", dockerfile: from("bitnami/postgres:16") });
  const { id: web } = await stand.publish({ name: "with-web", dockerfile: from("postgres:16"), config: { port: 8080 } });
  const { id: off } = await stand.publish({ name: "off", dockerfile: from("postgres:16"), config: { tcp: false } });
  t.strictSame(
    [based, other, web, off].map((id) => stand.row(id).tcpPort),
    [20_000, undefined, undefined, undefined],
  );
});

t.test("another range moves the ports at the next start; without one there are no listeners, and ports are kept", async (t) => {
  const options = { tcp: tcp as typeof tcp | undefined };
  const stand = await openLifecycleFixture(t, options);
  const { id } = await stand.publish({ name: "db", dockerfile: "FROM postgres\n" });
  t.equal(stand.row(id).tcpPort, 20_000);

  options.tcp = undefined;
  await stand.restart();
  t.equal(stand.row(id).tcpPort, 20_000);
  t.equal(stand.lifecycle().listenerOf(stand.row(id)), undefined);
  t.notOk("tcp" in stand.lifecycle().viewOf(stand.row(id)));

  options.tcp = { ...tcp, ports: { first: 30_000, last: 30_009 } };
  await stand.restart();
  t.equal(stand.row(id).tcpPort, 30_000);

  options.tcp = { ...options.tcp, images: [] };
  await stand.restart();
  t.equal(stand.row(id).tcpPort, undefined, "its image is no longer in the setting");
});

t.test("a TCP connection starts a container for no user", async (t) => {
  const stand = await openLifecycleFixture(t, { tcp });
  const { id } = await stand.publish({ name: "db", config: { tcp: true, onDemand: true, port: 5432 } });
  // What listens is no PostgreSQL, which shows once it has not answered for a while.
  const started = () =>
    eventually("started", async () => {
      await stand.clock.advance(500);
      return stand.row(id).state === "STARTED";
    });
  await stand.lifecycle().requestStart(id, USER);
  await started();
  t.equal(stand.row(id).requestedBy, USER);
  await stand.stop(id);
  await stand.lifecycle().wake(id, undefined);
  await started();
  const row = stand.row(id);
  t.match(row, { requestedBy: undefined, requestedKey: undefined, requestedSession: undefined, requestedFor: "request" });
  const explained = await stand.lifecycle().explain(id, AbortSignal.timeout(5_000));
  t.match(explained.why, /a TCP connection/);
  t.strictSame(explained.listener, { host: "berth.internal", port: 20_000 });
});
