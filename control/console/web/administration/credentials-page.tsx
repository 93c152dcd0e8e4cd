import { useId, useState } from "preact/hooks";
import { request } from "../api-client.ts";
import type { CredentialPackagesJson } from "../entities.ts";
import { linkTo, useConsoleQuery } from "../location.ts";
import { Toggle } from "../parts/controls.tsx";
import { ConfirmDialog, FormDialog, TextField } from "../parts/dialog.tsx";
import { Moment } from "../parts/display.tsx";
import { useNotices } from "../parts/notices.tsx";
import { PagedTable, useAddressState, usePagedRows } from "../parts/paged-table.tsx";

type CredentialPackage = CredentialPackagesJson["rows"][number];
type TargetRow = CredentialPackage["targets"][number];
type TargetDialog = { verb: "set" | "remove"; target: TargetRow };

/** What credentials are set for. Values go to berth and never come back. */
export function CredentialsPage() {
  const query = useConsoleQuery();
  const isSet = query.value("set") === "true";
  const packages = usePagedRows<CredentialPackage>(`/admin/credentials?set=${isSet}`, useAddressState());
  const [dialog, setDialog] = useState<TargetDialog>();
  const [isRotating, setRotating] = useState(false);
  const notices = useNotices();
  const close = () => setDialog(undefined);
  const done = (text: string) => {
    close();
    notices.done(text);
    packages.reload();
  };
  const rotate = () => {
    setRotating(false);
    request<{ resealed: number }>("/credentials/rotate", { method: "POST" }).then(
      ({ resealed }) => notices.done(`A new key seals ${resealed === 1 ? "1 secret" : `${resealed} secrets`}.`),
      notices.failed,
    );
  };
  return (
    <>
      <div class="page-head">
        <h1>Credentials</h1>
        <div class="tools">
          <button type="button" onClick={() => setRotating(true)}>
            Seal with a new key…
          </button>
        </div>
      </div>
      <p class="quiet">berth never shows a value. Containers get what is set now at their next start.</p>
      <div class="tools">
        <Toggle label="Only packages with credentials" value={isSet} onChange={(value) => query.set({ set: value ? "true" : "", page: "" })} />
      </div>
      <PagedTable
        rows={packages}
        keyOf={({ package: name }) => name}
        empty={isSet ? "No credentials." : "No packages. Publish one first."}
        search="Search packages"
        columns={[
          {
            name: "Package",
            cell: ({ package: name, author }) => (
              <>
                {name} <small>by {author}</small>
              </>
            ),
          },
          {
            name: "Secrets",
            cell: ({ targets }) => (
              <ul class="targets">
                {targets.map((target) => (
                  <Target key={target.name} target={target} onDialog={setDialog} />
                ))}
              </ul>
            ),
          },
        ]}
      />
      {dialog?.verb === "set" ? <SetCredentials target={dialog.target} onClose={close} onDone={done} /> : null}
      {dialog?.verb === "remove" ? <RemoveCredentials target={dialog.target} onClose={close} onDone={done} /> : null}
      {isRotating ? (
        <ConfirmDialog title="Seal all credentials with a new key?" verb="Seal" onConfirm={rotate} onClose={() => setRotating(false)}>
          <p>berth creates a key and seals all secrets of the store with it. Keep a copy of the new key: backups do not contain it.</p>
        </ConfirmDialog>
      ) : null}
    </>
  );
}

function Target({ target, onDialog }: { target: TargetRow; onDialog(dialog: TargetDialog): void }) {
  const { name, connection, credentials, containers } = target;
  return (
    <li aria-label={name}>
      <strong>{connection === null ? "Variables of its containers" : `Connection ${connection}`}</strong>
      {credentials.length === 0 ? (
        <p class="quiet">None.</p>
      ) : (
        <ul class="plain-list">
          {credentials.map((one) => (
            <li key={one.name}>
              <code>{one.name}</code>{" "}
              <small>
                {one.origin === "package" ? "published with the package" : "set"} <Moment at={one.updatedOn} />
              </small>
            </li>
          ))}
        </ul>
      )}
      {credentials.length === 0 || containers.length === 0 ? null : (
        <p class="links">
          <span class="quiet">Used by</span>
          {containers.map(({ id, name: container }) => (
            <a key={id} href={linkTo("containers", id)}>
              {container}
            </a>
          ))}
        </p>
      )}
      <div class="tools">
        <button type="button" onClick={() => onDialog({ verb: "set", target })}>
          Set…<span class="unseen"> {name}</span>
        </button>
        {credentials.length === 0 ? null : (
          <button type="button" class="danger" onClick={() => onDialog({ verb: "remove", target })}>
            Remove…<span class="unseen"> {name}</span>
          </button>
        )}
      </div>
    </li>
  );
}

type TargetDialogProps = { target: TargetRow; onClose(): void; onDone(text: string): void };

const credentialsPath = ({ name }: TargetRow) => `/credentials/for/${encodeURIComponent(name)}`;
const EMPTY_ENTRY = { name: "", value: "" };

function SetCredentials({ target, onClose, onDone }: TargetDialogProps) {
  const [entries, setEntries] = useState([EMPTY_ENTRY]);
  const [isReplacing, setReplacing] = useState(false);
  const change = (index: number, entry: Partial<typeof EMPTY_ENTRY>) =>
    setEntries((before) => before.map((one, at) => (at === index ? { ...one, ...entry } : one)));
  const set = async () => {
    const values = Object.fromEntries(entries.map(({ name, value }) => [name.trim(), value]));
    const { warnings } = await request<{ warnings: string[] }>(credentialsPath(target), {
      method: isReplacing ? "POST" : "PATCH",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(values),
    });
    onDone([`Credentials of ${target.name} are set.`, ...warnings].join(" "));
  };
  return (
    <FormDialog title={`Set credentials of ${target.name}`} verb="Set" onSubmit={set} onClose={onClose}>
      {entries.map((entry, index) => (
        <div key={index} class="fields">
          <TextField
            label="Name"
            value={entry.name}
            onChange={(name) => change(index, { name })}
            maxLength={200}
            isRequired
            offers={target.credentials.map(({ name }) => name)}
          />
          <SecretField label="Value" value={entry.value} onChange={(value) => change(index, { value })} />
        </div>
      ))}
      <div class="tools">
        <button type="button" onClick={() => setEntries((before) => [...before, EMPTY_ENTRY])}>
          Add another
        </button>
      </div>
      {target.credentials.length === 0 ? null : <Toggle label="Remove all others" value={isReplacing} onChange={setReplacing} />}
    </FormDialog>
  );
}

/** Of several lines, such as a private key. What is typed is not shown. */
function SecretField({ label, value, onChange }: { label: string; value: string; onChange(value: string): void }) {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <textarea
        id={id}
        class="secret"
        rows={2}
        autocomplete="off"
        spellcheck={false}
        required
        value={value}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
    </div>
  );
}

function RemoveCredentials({ target, onClose, onDone }: TargetDialogProps) {
  const [kept, setKept] = useState<ReadonlySet<string>>(new Set());
  const removed = target.credentials.map(({ name }) => name).filter((name) => !kept.has(name));
  const remove = async () => {
    if (removed.length === 0) throw new Error("Select at least one credential.");
    await request(`${credentialsPath(target)}?${removed.map((name) => `name=${encodeURIComponent(name)}`).join("&")}`, { method: "DELETE" });
    onDone(removed.length === 1 ? `${removed[0]} is removed.` : `${removed.length} credentials are removed.`);
  };
  return (
    <FormDialog title={`Remove credentials of ${target.name}`} verb="Remove" onSubmit={remove} onClose={onClose}>
      {target.credentials.map(({ name }) => (
        <Toggle
          key={name}
          label={name}
          value={!kept.has(name)}
          onChange={(isRemoved) =>
            setKept((before) => {
              const after = new Set(before);
              if (isRemoved) after.delete(name);
              else after.add(name);
              return after;
            })
          }
        />
      ))}
    </FormDialog>
  );
}
