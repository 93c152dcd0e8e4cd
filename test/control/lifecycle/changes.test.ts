import t from "tap";
import type { Availability } from "../../../gateway/contract.ts";
import { viewOf } from "../../../control/lifecycle/changes.ts";
import type { Container } from "../../../control/model/entities.ts";
import { eventually } from "../../fixtures/eventually.ts";
import { newContainer, newImage, openLifecycleFixture } from "./lifecycle-fixture.ts";

const ADDRESS = { host: "127.0.0.1", port: 5353 };
const plain = newContainer(newImage("web", 0), { cpu: 1, memoryMb: 1, gpu: 0, shmMb: 1, storageGb: 1, onDemand: false }, 0);
const onDemand = { ...plain, config: { ...plain.config, onDemand: true } };
const FAULT = { code: "CONTAINER_CRASHED", message: "It crashed." } as const;

type Case = [what: string, container: Container, change: Partial<Container>, availability: Availability["kind"]];

const CASES: Case[] = [
  ["started with an address", plain, { state: "STARTED", desiredInstances: 1, addresses: [ADDRESS] }, "awake"],
  ["verified again: it may be another's by now", plain, { state: "CHECKING", desiredInstances: 1, addresses: [ADDRESS] }, "coming"],
  ["started without a port", plain, { state: "STARTED", desiredInstances: 1 }, "portless"],
  ["about to start", plain, { state: "PENDING_START", desiredInstances: 1 }, "coming"],
  ["starting", plain, { state: "STARTING", desiredInstances: 1 }, "coming"],
  ["stopped to be replaced", plain, { state: "STOPPING", desiredInstances: 1, stopFor: "system" }, "coming"],
  ["stopped, start requested meanwhile", plain, { state: "USER_STOPPED", desiredInstances: 1 }, "coming"],
  ["a plain one that a user stops", plain, { state: "PENDING_USER_STOP", stopFor: "user" }, "stopped"],
  ["a plain one that is being stopped for a user", plain, { state: "STOPPING", stopFor: "user" }, "stopped"],
  ["a plain one that a user stopped", plain, { state: "USER_STOPPED", stopFor: "user" }, "stopped"],
  ["a plain one going to sleep", plain, { state: "PENDING_SYSTEM_STOP", stopFor: "system" }, "asleep"],
  ["a plain one that sleeps", plain, { state: "SYSTEM_STOPPED", stopFor: "system" }, "asleep"],
  ["an on-demand one that sleeps", onDemand, { state: "SYSTEM_STOPPED", stopFor: "system" }, "asleep"],
  ["an on-demand one after a user's stop", onDemand, { state: "USER_STOPPED", stopFor: "user" }, "asleep"],
  ["an on-demand one that is being stopped", onDemand, { state: "STOPPING", stopFor: "user" }, "asleep"],
  ["a plain one in error", plain, { state: "ERROR", desiredInstances: 1, fault: FAULT }, "failed"],
  ["an on-demand one in error", onDemand, { state: "ERROR", desiredInstances: 1, fault: FAULT }, "failed"],
];

t.test("what a gateway may do follows from the state, the desired state and the kind", async (t) => {
  for (const [what, container, change, availability] of CASES) t.equal(viewOf({ ...container, ...change }).availability.kind, availability, what);
});

t.test("only an on-demand container in error is woken by a request, once its back-off has passed", async (t) => {
  const failed = { state: "ERROR", desiredInstances: 1, fault: FAULT, notBefore: 1_234 } as const;
  t.match(viewOf({ ...onDemand, ...failed }).availability, { wakeable: true, retryAt: 1_234, fault: FAULT });
  t.match(viewOf({ ...plain, ...failed }).availability, { wakeable: false, fault: FAULT });
});

t.test("the address of a container that speaks HTTP/2 says so", async (t) => {
  const started = { ...plain, state: "STARTED", desiredInstances: 1, addresses: [ADDRESS] } as const;
  const speaking = (protocol: "http1" | "h2c") => viewOf({ ...started, config: { ...plain.config, protocol } }).availability;
  t.strictSame(speaking("h2c"), { kind: "awake", addresses: [{ ...ADDRESS, h2c: true }] });
  t.strictSame(speaking("http1"), { kind: "awake", addresses: [ADDRESS] });
});

t.test("a plain container that a user stopped says so", async (t) => {
  t.match(viewOf(plain).availability, { kind: "stopped", fault: { code: "CONTAINER_STOPPED" } });
});

t.test("gateways share a container's limit of requests, and learn when others come and leave", async (t) => {
  const stand = await openLifecycleFixture(t);
  const row = await stand.publish({ config: { maxConcurrency: 5 } });
  const limitOf = () => stand.lifecycle().viewOf(stand.row(row.id)).maxConcurrency;
  t.equal(limitOf(), 5);
  const published: unknown[] = [];
  t.teardown(stand.lifecycle().watch((change) => "container" in change && published.push(limitOf())));
  for (const gateway of ["a", "b", "c"]) stand.lifecycle().gatewayJoined(gateway, 0);
  await eventually("all to be published", () => published.at(-1) === 1);
  for (let more = 0; more < 9; more++) stand.lifecycle().gatewayJoined(`more-${more}`, 0);
  t.equal(limitOf(), 1, "each has one at least");
  for (let more = 0; more < 9; more++) stand.lifecycle().gatewayLeft(`more-${more}`);
  stand.lifecycle().gatewayLeft("c");
  await eventually("all to be published", () => published.at(-1) === 2);
});
