/** Names that tell that a value is nobody's to read over a shoulder; the API masks those that the caller may not see at all. */
const SECRET = /key|token|secret|password|passwd|credential|auth/i;

/** A container's own variables and its settings. Values that look secret are masked, here as on every screen. */
export function Environment({ variables, config }: { variables: Record<string, string>; config: Record<string, unknown> }) {
  const rows = Object.entries(variables);
  return (
    <section aria-labelledby="environment">
      <h2 id="environment">Environment</h2>
      {rows.length === 0 ? <p class="quiet">Its package sets no variables.</p> : null}
      <dl class="facts">
        {rows.map(([name, value]) => (
          <div key={name}>
            <dt>
              <code>{name}</code>
            </dt>
            <dd>
              <code>{SECRET.test(name) ? "***" : value}</code>
            </dd>
          </div>
        ))}
      </dl>
      <h3>container.json</h3>
      <pre>{JSON.stringify(config, undefined, 2)}</pre>
    </section>
  );
}
