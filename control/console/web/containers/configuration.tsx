import { useRequest } from "../api-client.ts";
import type { Container, WrittenDefinition } from "../entities.ts";
import { linkTo } from "../location.ts";
import { Facts, Failure, Loading, Moment, Section } from "../parts/display.tsx";
import { mayManage } from "./container-actions.tsx";

/** Variables with secret values. The API masks those that the caller may not read at all. */
const SECRET = /key|token|secret|password|passwd|credential|auth/i;

/** The image, container.json, and the variables of a container. Values that look secret are masked. */
export function Configuration({ container }: { container: Container }) {
  const { dockerfile: image, config, environmentVars } = container;
  return (
    <>
      <Section title="Image">
        <Facts
          facts={[
            ["Image", <a href={linkTo("images", image.id)}>{container.dockerImage}</a>],
            ["Version", image.version],
            ["Folder", <code>{image.dockerfilePath}</code>],
            ["Published", <Moment at={image.createdOn} />],
          ]}
        />
        {image.dockerfile === "" ? null : (
          <details>
            <summary>Dockerfile</summary>
            <pre>{image.dockerfile}</pre>
          </details>
        )}
      </Section>
      <Section title="container.json">
        <div class="side-by-side">
          {mayManage(container) ? <Written container={container} /> : null}
          <div>
            <h3>As used, with defaults</h3>
            <pre>{JSON.stringify(config, undefined, 2)}</pre>
          </div>
        </div>
      </Section>
      <Environment variables={environmentVars} />
    </>
  );
}

function Written({ container: { id, updatedOn } }: { container: Container }) {
  const { value: written, error, reload } = useRequest<WrittenDefinition>(`/docker/containers/${id}/container-json`, { version: updatedOn });
  return (
    <div>
      <h3>As written</h3>
      <Failure error={error} onRetry={reload} />
      {written === undefined ? (
        error ? null : (
          <Loading />
        )
      ) : written.text === null ? (
        <p class="quiet">The folder has no container.json: berth uses the defaults. Add one to change them.</p>
      ) : (
        <pre>{maskSecrets(written.text)}</pre>
      )}
    </div>
  );
}

const STRING = '"(?:[^"\\\\]|\\\\.)*"';
/** A name and its value, if that is neither an object nor a list. */
const MEMBER = new RegExp(`(${STRING})(\\s*:\\s*)(${STRING}|[^\\s",\\[\\]{}]+)`, "g");

/** The text as it is, but for the values whose names are those of secrets. */
function maskSecrets(text: string): string {
  return text.replace(MEMBER, (member, name: string, colon: string) => (SECRET.test(name) ? `${name}${colon}"***"` : member));
}

function Environment({ variables }: { variables: Record<string, string> }) {
  const rows = Object.entries(variables);
  return (
    <Section title="Environment">
      {rows.length === 0 ? <p class="quiet">No variables.</p> : null}
      <Facts facts={rows.map(([name, value]) => [<code>{name}</code>, <code>{SECRET.test(name) ? "***" : value}</code>] as const)} />
    </Section>
  );
}
