import t from "tap";
import { ACTIONS, SHELL_ACTIONS } from "../../../drivers/ecs/aws.ts";
import { conformance } from "../conformance.ts";
import { BACKENDS } from "../conformance/backends.ts";
import { openGate } from "../engine/engine-gate.ts";
import { openStand, SHELL_ROLE } from "./fixture.ts";
import { openRole } from "./iam.ts";
import { eventually } from "../../fixtures/eventually.ts";

t.test("the ECS driver keeps the contract, with the rights of its policy", async (t) => {
  const stand = await openStand(t, ["onDemand", "plain", "checked", "tcpOnly", "worker", "crashing", "broken", "mute", "hungry"], { shells: true });
  await conformance(t, {
    open: () => stand.open({ shellRole: SHELL_ROLE }),
    image: async (name) => ({ ref: `berth-test/${name.toLowerCase()}:1` }),
    unknown: async () => ({ ref: "berth-test/absent:1" }),
    kill: async (service) => stand.scheduler.kill(service),
    vanish: (service) => stand.deleteService(service),
    move: async (service) => {
      await eventually("ECS is content", () => stand.services.get(service)?.rolloutState === "COMPLETED");
      stand.scheduler.stopTask(service);
    },
    way: async (t) => {
      const { hostname: host, port } = new URL(stand.url);
      const gate = await openGate(t, { host, port: Number(port) });
      // Clients read it at their first call.
      process.env["AWS_ENDPOINT_URL"] = gate.host.replace("tcp:", "http:");
      t.teardown(() => {
        process.env["AWS_ENDPOINT_URL"] = stand.url;
      });
      return { ...gate, driver: stand.open({ maxOutageMs: 2_000 }) };
    },
    resolvesElsewhere: true,
    left: async (prefix) => {
      const services = [...stand.services.values()].filter(({ status }) => status === "ACTIVE");
      const running = [...stand.services.values(), ...stand.ecs.former].filter((one) => stand.scheduler.live(one).length > 0);
      return [...new Set([...services, ...running].map(({ name }) => name))].filter((name) => name.startsWith(prefix));
    },
    ...BACKENDS.ecs,
  });

  t.test("every action that it names was called, and no other", async (t) => {
    const actions = stand.actions().filter((action) => !action.startsWith("ecr:"));
    // Only a cluster with EC2 instances is queried for them.
    t.strictSame([...actions, "ecs:DescribeContainerInstances"].toSorted(), [...ACTIONS, ...SHELL_ACTIONS].toSorted());
  });
  t.test("and the policy allows just those, what they imply, and what images are looked up with", async (t) => {
    const implied = [
      "ecr:BatchGetImage",
      "ecr:GetAuthorizationToken",
      "ecr:GetDownloadUrlForLayer",
      "ecr:ListImages",
      "ecs:TagResource",
      "iam:PassRole",
    ];
    t.strictSame(openRole().actions, [...ACTIONS, ...implied].toSorted());
    t.strictSame(stand.role.actions, [...ACTIONS, ...SHELL_ACTIONS, ...implied].toSorted(), "with shells one more");
  });
  t.test("no task definition is left in use", async (t) => {
    const registered = stand.requests.filter(({ action }) => action === "RegisterTaskDefinition").length;
    const gone = new Set(stand.requests.filter(({ action }) => action === "DeregisterTaskDefinition").map(({ body }) => body["taskDefinition"]));
    t.equal(gone.size, registered);
  });
});
