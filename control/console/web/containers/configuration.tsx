import type { Container } from "../entities.ts";
import { linkTo } from "../location.ts";
import { Facts, Moment, Section } from "../parts/display.tsx";

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
        <pre>{JSON.stringify(config, undefined, 2)}</pre>
      </Section>
      <Environment variables={environmentVars} />
    </>
  );
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
