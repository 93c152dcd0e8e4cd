import { useState } from "preact/hooks";
import { request, useRequest } from "../api-client.ts";
import type { TrustedPublisherJson } from "../entities.ts";
import { linkTo } from "../location.ts";
import { ConfirmDialog, FormDialog, TextField } from "../parts/dialog.tsx";
import { type Column, Failure, Loading, Table } from "../parts/display.tsx";
import { useNotices } from "../parts/notices.tsx";

const PATH = "/admin/trusted-publishers";

/** Which CI jobs may publish what without a stored key. */
export function TrustedPublishersPage() {
  const { value: publishers, error, reload } = useRequest<TrustedPublisherJson[]>(PATH);
  const [isAdding, setAdding] = useState(false);
  const [removed, setRemoved] = useState<string>();
  const notices = useNotices();
  const remove = (name: string) => {
    setRemoved(undefined);
    request(`${PATH}/${encodeURIComponent(name)}`, { method: "DELETE" })
      .then(() => notices.done(`${name} is removed. The tokens of its jobs have ended.`), notices.failed)
      .finally(reload);
  };
  const columns: readonly Column<TrustedPublisherJson>[] = [
    {
      name: "Name",
      cell: ({ name, issuer }) => (
        <div>
          {name}
          <br />
          <small>{issuer.replace(/^https:\/\//, "")}</small>
        </div>
      ),
    },
    { name: "Claims", cell: ({ claims }) => <Lines of={Object.entries(claims).map(([name, value]) => `${name}=${value}`)} /> },
    {
      name: "User",
      cell: ({ login }) => (
        <div class="short-name">
          <a href={linkTo("administration", "users", login)}>{login}</a>
        </div>
      ),
    },
    { name: "Packages", cell: ({ packages }) => <Lines of={packages} /> },
    { name: "Rights", cell: ({ rights, lifetimeMinutes }) => <Lines of={[rights.join(", "), `for ${lifetimeMinutes} min`]} /> },
    {
      name: "Actions",
      isAction: true,
      cell: ({ name }) => (
        <button type="button" class="danger" onClick={() => setRemoved(name)}>
          Remove…<span class="unseen"> {name}</span>
        </button>
      ),
    },
  ];
  return (
    <>
      <div class="page-head">
        <h1>Trusted publishers</h1>
        <div class="tools">
          <button type="button" class="primary" onClick={() => setAdding(true)}>
            Add publisher…
          </button>
        </div>
      </div>
      <p class="quiet">CI jobs with these claims in their identity tokens publish without a stored key.</p>
      <Failure error={error} onRetry={reload} />
      {publishers === undefined ? error ? null : <Loading /> : null}
      {publishers?.length === 0 ? <p class="quiet">No trusted publishers. Add one to publish from CI.</p> : null}
      {publishers === undefined || publishers.length === 0 ? null : <Table rows={publishers} keyOf={({ name }) => name} columns={columns} />}
      {isAdding ? (
        <NewPublisherDialog
          onAdded={() => {
            setAdding(false);
            reload();
          }}
          onClose={() => setAdding(false)}
        />
      ) : null}
      {removed === undefined ? null : (
        <ConfirmDialog title={`Remove ${removed}?`} verb="Remove" onConfirm={() => remove(removed)} onClose={() => setRemoved(undefined)}>
          <p>Its jobs can no longer publish. The tokens that they have end at once.</p>
        </ConfirmDialog>
      )}
    </>
  );
}

/** As one child, also where a table is a list of fields. */
function Lines({ of }: { of: readonly string[] }) {
  return (
    <div>
      {of.map((line) => (
        <div key={line}>{line}</div>
      ))}
    </div>
  );
}

function NewPublisherDialog({ onAdded, onClose }: { onAdded(): void; onClose(): void }) {
  const [name, setName] = useState("");
  const [issuer, setIssuer] = useState("https://token.actions.githubusercontent.com");
  const [claims, setClaims] = useState("");
  const [login, setLogin] = useState("");
  const [packages, setPackages] = useState("");
  const words = (text: string) => text.split(/[\s,]+/).filter((word) => word !== "");
  const add = async () => {
    const pairs = words(claims).map((one) => [one.split("=", 1)[0] ?? "", one.slice(one.indexOf("=") + 1)]);
    const body = JSON.stringify({
      name: name.trim(),
      issuer: issuer.trim(),
      claims: Object.fromEntries(pairs),
      login: login.trim(),
      packages: words(packages),
    });
    await request(PATH, { method: "POST", headers: { "content-type": "application/json" }, body });
    onAdded();
  };
  return (
    <FormDialog title="Add a trusted publisher" verb="Add" onSubmit={add} onClose={onClose}>
      <TextField label="Name" value={name} onChange={setName} isRequired hint="Lower-case letters, digits and dashes." />
      <TextField label="Issuer" value={issuer} onChange={setIssuer} isRequired hint="For GitLab: https://gitlab.com, or your own server." />
      <TextField
        label="Claims"
        value={claims}
        onChange={setClaims}
        isRequired
        hint="For example repository=acme/plugins ref=refs/heads/main; * matches anything but /."
      />
      <TextField label="User" value={login} onChange={setLogin} isRequired hint="The author of what the jobs publish." />
      <TextField label="Packages" value={packages} onChange={setPackages} isRequired hint="Names of packages, with spaces between." />
    </FormDialog>
  );
}
