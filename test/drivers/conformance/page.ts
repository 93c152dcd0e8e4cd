import { ADVICE } from "../../../drivers/advice.ts";
import { FAULTS, type FaultCode } from "../../../lib/fault.ts";
import { BACKENDS, type Backend } from "./backends.ts";
import type { Theme } from "./harness.ts";
import { CASES, THEMES } from "./themes.ts";

const ALL: readonly Backend[] = Object.values(BACKENDS);

/** The page docs/reference/drivers.md. */
export function driversPage(): string {
  return `# Drivers

<!-- Written by \`npm run docs\` from test/drivers/conformance and drivers/advice.ts; a test notices when it differs. -->

A driver runs containers on an orchestrator. [driver.ts](../../drivers/driver.ts) is the contract; a folder for each holds the rest, and what an administrator has
to set: [swarm](../drivers/swarm.md), [ecs](../drivers/ecs.md), [kubernetes](../drivers/kubernetes.md), [spawner](../spawner.md). What speaks to a Docker engine, for several of them, is in engine/.

## Which one is taken

\`BERTH_DRIVER\` names it. With \`auto\`, the default, it is the first of these:

| what is set or found | driver |
| --- | --- |
| \`GROK_SPAWNER_FORCE_DOCKER_TYPE_HOST=true\` | \`docker\` |
| an ECS cluster and Kubernetes | none: berth does not start |
| an ECS cluster (\`…_ECS__CLUSTER\`) | \`ecs\` |
| Kubernetes' namespace or kubeconfig | \`kubernetes\` |
| the Docker engine manages a Swarm | \`swarm\` |
| else | \`docker\` |

The engine is asked when it is first needed, and may be away until then. Containers that another driver has started are not seen by this one: stop
them before the driver changes.

## What each was asked

${CASES.length} cases, asked by \`npm test\` of ${ALL.map(({ name, on }) => `${name} on ${on}`).join("; ")}. A case that an orchestrator cannot have says why.

${THEMES.map(themed).join("\n")}
## When a start fails

Whichever driver it is, a failure has one of these codes. Its message says what was being done and where, and ends with what to do. A
container that runs and never takes a connection is given up by berth itself, as \`START_TIMED_OUT\`.

${table(["code", "status", "what it means", "what to do"])}${adviceRows().map(line).join("")}`;
}

/** The same table as lines of text, for the output of the tests. */
export function conformanceLines(): string[] {
  return CASES.map((one) => `${one.promise}: ${ALL.map((backend) => `${backend.name} ${cell(backend, one.id)}`).join("; ")}`);
}

function themed({ title, cases }: Theme): string {
  const heads = [title, ...ALL.map(({ name }) => name)];
  return table(heads) + cases.map(({ id, promise }) => line([promise, ...ALL.map((backend) => cell(backend, id))])).join("");
}

function cell({ cannot }: Backend, id: string): string {
  const reason = cannot[id];
  return reason === undefined ? "yes" : `no: ${reason}`;
}

function adviceRows(): string[][] {
  return Object.entries(ADVICE).map(([code, { means, todo }]) => {
    const [status, reason] = FAULTS[code as FaultCode];
    return [`\`${code}\``, `${status} ${reason}`, means, todo];
  });
}

function table(heads: readonly string[]): string {
  return line(heads) + line(heads.map(() => "---"));
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |\n`;
}
