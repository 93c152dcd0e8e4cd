import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createIdentity } from "../../../control/identity/open-identity.ts";
import { containerToken, endSessionsAtRest, tokenDigest } from "../../../control/identity/sessions.ts";
import type { EntityChange } from "../../../control/lifecycle/changes.ts";
import type { Lifecycle } from "../../../control/lifecycle/open-lifecycle.ts";
import type { Container } from "../../../control/model/entities.ts";
import { CONTAINER_WIRE_STATES, type ContainerState } from "../../../control/model/states.ts";
import { containerEnvironment } from "../../../control/packages/credentials/container-environment.ts";
import { openCredentials } from "../../../control/packages/credentials/open-credentials.ts";
import { openKeyFile } from "../../../control/packages/credentials/key-file.ts";
import { openVault } from "../../../control/packages/credentials/open-vault.ts";
import { openStore } from "../../../control/store/open-store.ts";
import { openLog } from "../../../lib/log.ts";
import { createStillClock } from "../../fixtures/clock.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { newContainer, newImage, USER } from "../lifecycle/lifecycle-fixture.ts";

const clock = createStillClock();
const log = openLog({ level: "silent", name: "test" });
const OTHER = "44444444-4444-4444-8444-444444444444";
const CONFIG = { cpu: 1, memoryMb: 64, gpu: 0, shmMb: 1, storageGb: 1, onDemand: true };

/** A container whose start a user requested, in a state of the test's choice. */
async function openStand(t: Test) {
  const folder = mkdtempSync(join(tmpdir(), "berth-session-"));
  const store = await openStore({ folder, clock });
  t.teardown(async () => {
    await store.close();
    rmSync(folder, { recursive: true });
  });
  for (const [id, login] of [[USER, "ada"] as const, [OTHER, "bob"] as const])
    await store.users.insert({ id, login, friendlyName: login, admin: false, createdOn: 1 });
  const image = newImage("web", 1);
  await store.packages.insert({ id: image.packageId, name: "demo", version: "1.0.0", authorId: USER, createdOn: 1, updatedOn: 1 });
  await store.images.insert(image);
  const container = await store.containers.insert({ ...newContainer(image, CONFIG, 1), requestedBy: USER, requestedOn: 10, state: "STARTING" });
  const identity = createIdentity({ store, clock });
  const keyFile = openKeyFile(folder);
  /** What a process that has just begun hands over. */
  const token = async (patch: object = {}) => {
    const vault = await openVault({ store, keyFile, given: [], log });
    return (await containerToken({ store, vault }, (await store.containers.update(container.id, patch)) ?? container)) ?? "";
  };
  const enter = async (state: ContainerState) => {
    const { state: from } = (await store.containers.find(container.id)) ?? container;
    await store.containers.move(container.id, from, state, {});
  };
  return { folder, store, identity, container, keyFile, token, enter };
}

t.test("what is read before the container's row counts only for the user and the package of that row", async (t) => {
  const { store, identity, container, keyFile } = await openStand(t);
  const vault = await openVault({ store, keyFile, given: [], log });
  const credentials = openCredentials({ store, vault, clock });
  const queue = { amqpHost: "", amqpPort: 0, amqpUser: "", amqpPassword: "", amqpAuthMode: "password", tls: false } as const;
  const pipe = { pipeHost: "", pipePort: 0, pipeKey: "", pipeAuthMode: "password" } as const;
  const stand = { apiUrl: undefined, queue: { ...queue, ...pipe } };
  const { prepareEnv } = containerEnvironment({ store, vault, credentials, stand, signQueueToken: async () => "" });
  const image = { name: "web", version: "1.0.0" };
  const tokenOf = (row: Container) =>
    store.transaction(async () => {
      const makeEnv = prepareEnv(container);
      return (await makeEnv(row, image))["USER_API_KEY"] ?? "";
    });
  t.match(await identity.who(await tokenOf(container)), { login: "ada" });
  t.match(await identity.who(await tokenOf({ ...container, requestedBy: OTHER })), { login: "bob" }, "of another request");
  t.equal(await tokenOf({ ...container, requestedKey: "revoked" }), "", "a key that there is not");
});

t.test("until it rests, each start of a definition for a user hands over the same token", async (t) => {
  const { store, identity, container, token, enter } = await openStand(t);
  const first = await token();
  t.match(await identity.who(first), { userId: USER, login: "ada" });
  t.equal(await token(), first, "requested again by another process, after a crash");
  t.equal(await token({ requestedOn: 20 }), first, "requested again because its address was suspect");
  const ofBob = await token({ requestedBy: OTHER });
  t.match([await identity.who(first), await identity.who(ofBob)], [{ login: "ada" }, { login: "bob" }], "which of them runs is not known");
  const next = await token({ generation: 2 });
  t.same([await identity.who(first), await identity.who(ofBob)], [undefined, undefined], "what runs of an older definition is replaced");
  t.match(await identity.who(next), { login: "bob" });
  t.equal((await store.sessions.byContainer(container.id)).length, 1);
  t.equal(await token({ requestedBy: undefined }), "", "without a user");

  await t.test("and then another one", async (t) => {
    let tell: (change: EntityChange) => void = () => {};
    const watch: Lifecycle["watch"] = (listener) => {
      tell = listener;
      return () => {};
    };
    await endSessionsAtRest(store, { watch }, log);
    t.equal(await token({ requestedBy: OTHER }), next, "it runs");
    await enter("SYSTEM_STOPPED");
    await store.containers.update(container.id, { pausedOn: 1 });
    tell({ seq: 1, container: (await store.containers.find(container.id)) ?? container });
    // What it writes comes before the next write.
    await store.transaction(async () => undefined);
    t.equal(await identity.who(next), undefined, "it is frozen, and its token has no user");
    await endSessionsAtRest(store, { watch: () => () => {} }, log);
    t.equal(await token(), next, "but it is to go on with what it has");
    await enter("USER_STOPPED");
    tell({ seq: 1, container: (await store.containers.find(container.id)) ?? container });
    // What it writes comes before the next write.
    await store.transaction(async () => undefined);
    t.same(await store.sessions.ofContainers(), []);
    t.not(await token(), next);
    await endSessionsAtRest(store, { watch: () => () => {} }, log);
    t.same(await store.sessions.ofContainers(), [], "also where the process died before it learned of the stop");
  });
});

t.test("a store that fails in a way of its own while a session ends is in the log, and ends no process", async (t) => {
  const { store, container, enter } = await openStand(t);
  const logged: unknown[] = [];
  let tell: (change: EntityChange) => void = () => {};
  const watch: Lifecycle["watch"] = (listener) => {
    tell = listener;
    return () => {};
  };
  const transaction = async () => {
    throw new TypeError("The database connection is not open");
  };
  await endSessionsAtRest({ ...store, transaction }, { watch }, { error: (fields) => void logged.push(fields) });
  await enter("USER_STOPPED");
  tell({ seq: 1, container: (await store.containers.find(container.id)) ?? container });
  await eventually("it is logged", () => logged.length === 1);
  t.match(logged, [{ err: { message: /not open/ }, container: container.id }]);
});

t.test("a container's token counts in the states in which it may run, and in no other", async (t) => {
  const { identity, token, enter } = await openStand(t);
  const shown = await token();
  const counts: ContainerState[] = ["STARTING", "STARTED", "CHECKING", "PENDING_USER_STOP", "PENDING_SYSTEM_STOP", "STOPPING"];
  for (const state of Object.keys(CONTAINER_WIRE_STATES) as ContainerState[]) {
    await enter(state);
    t.equal((await identity.who(shown)) !== undefined, counts.includes(state), state);
  }
  await enter("ERROR");
  await enter("STARTED");
  t.ok(await identity.who(shown), "one that is found well again has the token that it was started with");
});

t.test("it ends with the container and with the user, and is never extended by time", async (t) => {
  const one = await openStand(t);
  const shown = await one.token();
  await clock.advance(365 * 24 * 3_600_000);
  t.ok(await one.identity.who(shown));
  await one.store.containers.remove(one.container.id, clock.now());
  t.equal(await one.identity.who(shown), undefined);
  t.same(await one.store.sessions.ofContainers(), []);
  const two = await openStand(t);
  const gone = await two.token({ requestedBy: OTHER });
  await two.store.users.remove(OTHER);
  t.equal(await two.identity.who(gone), undefined);
  t.equal(await two.token(), "", "a user who is gone starts nothing");
});

t.test("without the key a container starts with a token all the same, and what runs keeps its own", async (t) => {
  const { store, identity, keyFile, token } = await openStand(t);
  const vault = await openVault({ store, keyFile, given: [], log });
  const target = { package: { id: "33333333-3333-4333-8333-333333333333" } as never, entity: "", name: "demo" };
  await openCredentials({ store, vault, clock }).replace(target, { A: "b" });
  const first = await token();
  rmSync(keyFile.path);
  const second = await token();
  t.ok(await identity.who(second));
  t.ok(await identity.who(first), "the one that runs knows no other");
  await token({ generation: 2 });
  t.equal((await identity.who(first)) ?? (await identity.who(second)), undefined, "until it is replaced");
});

t.test("a token lies in the store neither as it is nor with its key, and stays the same through a rotation", async (t) => {
  const { store, keyFile, token } = await openStand(t);
  const first = await token();
  t.notOk(JSON.stringify(store.sessions.ofContainers()).includes(first));
  await (await openVault({ store, keyFile, given: [], log })).rotate();
  t.equal(await token(), first);
});

t.test("a container's token ends with the key and with the session of the user who started it, and the next start has none", async (t) => {
  const { identity, store, container, token } = await openStand(t);
  const start = async (shown: string) => {
    const { ref = {} } = (await identity.who(shown)) ?? {};
    return token({
      requestedKey: ref.key,
      requestedSession: ref.session,
      generation: ((await store.containers.find(container.id))?.generation ?? 0) + 1,
    });
  };
  const addKey = () => identity.users.addKey("ada", "");

  const ofSession = await identity.signIn((await addKey()).key);
  const first = await start(ofSession);
  t.match(await identity.who(first), { login: "ada", admin: false });
  let signOuts = 0;
  identity.watchSignOuts(() => signOuts++);
  await identity.endSession(ofSession);
  t.equal(await identity.who(first), undefined, "signed out");
  t.equal(signOuts, 1, "and gateways get the event");
  t.equal(await token({ generation: 20 }), "", "it starts again without one");

  const revoked = await addKey();
  const second = await start(await identity.signIn(revoked.key));
  const derived = (await identity.who(second))?.derivedToken ?? "";
  t.match(await identity.who(derived), { login: "ada" });
  await identity.users.revokeKey("ada", revoked.kept.id);
  t.same([await identity.who(second), await identity.who(derived)], [undefined, undefined], "the key was revoked");
  t.equal(await token({ generation: 30 }), "");

  const [kept, other] = [await addKey(), await addKey()];
  const ofKept = await start(await identity.signIn(kept.key));
  await identity.users.revokeKey("ada", other.kept.id);
  t.ok(await identity.who(ofKept), "another key was revoked");

  const third = await token({ requestedKey: undefined, requestedSession: undefined, generation: 40 });
  t.ok(await identity.who(third), "with which key this was started is not known");
  await identity.users.revokeKey("ada", (await identity.users.keys("ada"))[0]?.id ?? "");
  t.equal(await identity.who(third), undefined, "so it ends with any of the user's");

  const last = await token({ generation: 50 });
  await store.users.update(USER, { blockedOn: 1 });
  t.same([await identity.who(last), await token({ generation: 60 })], [undefined, ""], "a blocked user has none");
});

t.test("a container's token outlives a session that only ran out", async (t) => {
  const { identity, store, token } = await openStand(t);
  const { key } = await identity.users.addKey("ada", "");
  const { ref = {} } = (await identity.who(await identity.signIn(key))) ?? {};
  const given = await token({ requestedKey: ref.key, requestedSession: ref.session });
  await store.sessions.remove(ref.session ?? "");
  t.match(await identity.who(given), { login: "ada" });
});

t.test("what a container starts ends with the session that started the container, not with the container", async (t) => {
  const { identity, token } = await openStand(t);
  const session = await identity.signIn((await identity.users.addKey("ada", "")).key);
  const { ref = {} } = (await identity.who(session)) ?? {};
  const given = await token({ requestedKey: ref.key, requestedSession: ref.session });
  t.match((await identity.who(given))?.ref, { session: ref.session, key: ref.key });
  t.ok((await identity.who(given))?.ref?.own, "its own is included as well: its wakes are refused once that has ended");
});

t.test("the end of all sessions of a user ends what an expired one had started, and not what the kept one did", async (t) => {
  const { store, identity, container, token } = await openStand(t);
  const start = async (session: string) => token({ requestedSession: tokenDigest(session), requestedKey: undefined, generation: nextGeneration++ });
  let nextGeneration = 10;
  const expired = await identity.openSession(USER, 1_000);
  const given = await start(expired);
  await clock.advance(2_000);
  const kept = await identity.openSession(USER);
  t.equal(await store.sessions.byDigest(tokenDigest(expired)), undefined);
  t.match(await identity.who(given), { login: "ada" }, "the session has only expired");
  await identity.sessions.endAll(USER, tokenDigest(kept));
  t.equal(await identity.who(given), undefined);
  t.match(await store.containers.find(container.id), { requestedKey: "", requestedSession: undefined }, "nor does the next start have a token");

  for (const session of [kept, await identity.openSessionFrom(kept)]) {
    const own = await start(session);
    await identity.sessions.endAll(USER, tokenDigest(kept));
    t.match(await identity.who(own), { login: "ada" });
    t.match(await identity.who(session), { login: "ada" });
  }
});
