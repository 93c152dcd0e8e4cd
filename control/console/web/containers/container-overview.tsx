import type { ComponentChildren } from "preact";
import { useRequest } from "../api-client.ts";
import type { Container, Explanation, Wake } from "../entities.ts";
import { linkTo } from "../location.ts";
import { Facts, Failure, MessageText, Moment, Section } from "../parts/display.tsx";
import { mayManage } from "./container-actions.tsx";
import { FailureCards, type FailureGroup, groupFailures } from "./failure-cards.tsx";
import { OpenRequestList } from "./open-requests.tsx";
import { Starts } from "./starts.tsx";
import { WarmUpSection } from "./warm-up.tsx";

/** While a start runs, its phases are read so often. */
const LIVE_MS = 1_000;

/** Why a container is in its status, its failures, starts and open requests. */
export function ContainerOverview({ container }: { container: Container }) {
  if (mayManage(container)) return <ManagerOverview container={container} />;
  return (
    <>
      <Facts facts={factsOf(container, undefined)} />
      <p class="quiet">The author of the package, the author's groups, and administrators can start and stop this container and read its logs.</p>
    </>
  );
}

function ManagerOverview({ container }: { container: Container }) {
  const { id, status, note } = container;
  const version = `${status} ${note ?? ""}`;
  const starting = isStarting(status);
  const explanation = useRequest<Explanation>(`/docker/containers/${id}/explain`, { everyMs: starting ? LIVE_MS : 5_000, version });
  const wakes = useRequest<Wake[]>(`/docker/containers/${id}/wakes`, { version, ...(starting ? { everyMs: LIVE_MS } : {}) });
  const failures = groupFailures(wakes.value ?? [], explanation.value?.failure ?? null);
  return (
    <>
      <FailureCards groups={failures} />
      <Section title="Why">
        <Failure error={explanation.error} onRetry={explanation.reload} />
        {explanation.value ? <Reasons explanation={explanation.value} failures={failures} /> : <p class="quiet">Loading…</p>}
      </Section>
      <WarmUpSection id={id} version={version} />
      <Facts facts={factsOf(container, explanation.value)} />
      <Starts state={wakes} />
      <OpenRequestList id={id} />
    </>
  );
}

function Reasons({ explanation, failures }: { explanation: Explanation; failures: readonly FailureGroup[] }) {
  const { since, next, awake, replicas, engine, tcp } = explanation;
  return (
    <>
      <p>
        <MessageText text={whyBesideCards(explanation, failures)} />{" "}
        <span class="quiet">
          In this state for <Moment at={since} bare />.
        </span>
      </p>
      <ul class="reasons">
        {next.map(({ kind, time, says }) => (
          <li key={`${kind} ${time}`}>
            <Moment at={time} />: {says.replace(/^./, (first) => first.toLowerCase())}
          </li>
        ))}
        {awake.map(({ kind, says }) => (
          <li key={kind}>{says}</li>
        ))}
        {replicas ? <li>{replicas.says}</li> : null}
        {engine.says === "" ? null : <li>{engine.says}</li>}
        {tcp ? <li>{tcp.says}</li> : null}
      </ul>
    </>
  );
}

/** Without the sentence of a failure that a card has. */
function whyBesideCards({ why, failure }: Explanation, failures: readonly FailureGroup[]): string {
  const isShown = failure !== null && failures.some(({ code }) => code === failure.code);
  return isShown ? why.replace(failure.message, "").trim() : why;
}

const textOf = (value: unknown) => (typeof value === "string" || typeof value === "number" ? String(value) : "–");

/** `explanation`: undefined for users who may not manage the container, and until it is loaded. */
function factsOf(container: Container, explanation: Explanation | undefined): (readonly [name: string, value: ComponentChildren])[] {
  const { dockerfile: image, note, lastActive, createdOn, id, config } = container;
  const warnings = publishWarnings(image.logs);
  return [
    ["Image", <a href={linkTo("images", image.id)}>{container.dockerImage}</a>],
    ...(explanation?.package ? ([["Package", <a href={linkTo("packages", explanation.package)}>{explanation.package}</a>]] as const) : []),
    ...addressOf(container),
    ...(note === null || explanation?.why.includes(note) ? [] : ([["Note", note]] as const)),
    ...(warnings.length === 0 ? [] : ([["Warnings", warnings.join(" ")]] as const)),
    ["Reserved", `${textOf(config["cpu"])} CPU, ${textOf(config["memory"])} MB`],
    ["Last used", <Moment at={lastActive} />],
    ["Created", <Moment at={createdOn} />],
    ["Id", <code>{id}</code>],
  ];
}

/** What berth noted when the package was published. Empty for users who may not manage it. */
function publishWarnings(logs: string): string[] {
  return logs.split("\n").flatMap((line) => /^warning: (.*)$/.exec(line)?.[1] ?? []);
}

function isStarting(status: string): boolean {
  return /start/.test(status) && status !== "started";
}

/** Present only for users who may manage it; the address of a TCP listener for all. */
function addressOf({ serviceName, address, port, status }: Container): (readonly [name: string, value: ComponentChildren])[] {
  if (serviceName === "") return address === null ? [] : [["Address", `${address}:${port ?? "–"}`]];
  // An engine may know it before anything listens there.
  const starting = isStarting(status);
  const none = starting ? "none yet" : "none, it does not run";
  return [
    ["Address", `${address === null ? none : `${address}:${port ?? "–"}`}${starting ? " (starting)" : ""}`],
    ["Service", <code>{serviceName}</code>],
  ];
}
