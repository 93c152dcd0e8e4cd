import type { WarmUpJson } from "../../../api/schemas-series.ts";
import { request, useRequest } from "../api-client.ts";
import { Action } from "../parts/controls.tsx";
import { Failure, Moment, Section } from "../parts/display.tsx";

/** In which hours a container is usually used, what it would save to keep it warm then, and the decision of those who may manage it. */
export function WarmUpSection({ id, version }: { id: string; version: string }) {
  const { value: warmUp, error, reload } = useRequest<WarmUpJson>(`/docker/containers/${id}/warm-up`, { version });
  if (!warmUp) return error ? <Failure error={error} onRetry={reload} /> : null;
  const { chosen, usual, isSuggested, says } = warmUp;
  if (chosen === null && usual.hours.length === 0) return null;
  const choose = (hours: readonly string[] | null) => async () => {
    await request(`/docker/containers/${id}/warm-up`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ hours }),
    });
    reload();
  };
  return (
    <Section title="Usual hours">
      <p>{says}</p>
      {chosen === null ? null : <Chosen chosen={chosen} />}
      {chosen === null && isSuggested ? (
        <div class="tools">
          <Action act={choose(usual.hours)} kind="primary">
            Keep warm then
          </Action>
          <Action act={choose([])}>Dismiss</Action>
        </div>
      ) : null}
      {chosen === null ? null : (
        <div class="tools">
          {chosen.by === "auto" ? <Action act={choose([])}>Do not keep warm</Action> : <Action act={choose(null)}>Forget this decision</Action>}
        </div>
      )}
    </Section>
  );
}

function Chosen({ chosen: { hours, by, login, since } }: { chosen: NonNullable<WarmUpJson["chosen"]> }) {
  const decider = by === "auto" ? "BERTH_WARM_UP=auto" : (login ?? "a removed user");
  return (
    <p>
      {hours.length === 0 ? `${decider} dismissed the suggestion.` : `It is kept warm on ${hours.join(", and on ")}, by decision of ${decider}.`}{" "}
      <span class="quiet">
        (<Moment at={since} />)
      </span>
    </p>
  );
}
