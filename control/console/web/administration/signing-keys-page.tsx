import { useState } from "preact/hooks";
import { request, useRequest } from "../api-client.ts";
import type { SigningKeyJson } from "../entities.ts";
import { Failure, Loading, Moment, Table } from "../parts/display.tsx";
import { ConfirmDialog } from "../parts/dialog.tsx";
import { useNotices } from "../parts/notices.tsx";

type SigningKeyQuestion = { verb: "Rotate" } | { verb: "Revoke"; key: SigningKeyJson };

/** The keys that sign tokens for the registry, the queue and the pipe. */
export function SigningKeysPage() {
  const { value: keys, error, reload } = useRequest<SigningKeyJson[]>("/admin/keys", { everyMs: 30_000 });
  const [question, setQuestion] = useState<SigningKeyQuestion>();
  const notices = useNotices();
  const close = () => setQuestion(undefined);
  const act = (work: Promise<unknown>, text: string) => {
    close();
    work.then(() => notices.done(text), notices.failed).finally(reload);
  };
  return (
    <>
      <div class="page-head">
        <h1>Signing keys</h1>
        <div class="tools">
          <button type="button" onClick={() => setQuestion({ verb: "Rotate" })}>
            Rotate…
          </button>
        </div>
      </div>
      <p class="quiet">
        berth signs tokens for the registry with these keys, and publishes their public parts. The private parts never leave the store.
      </p>
      <Failure error={error} onRetry={reload} />
      {keys === undefined ? (
        error ? null : (
          <Loading />
        )
      ) : keys.length === 0 ? (
        <p class="quiet">No keys. berth creates the first one with the first token.</p>
      ) : (
        <Table
          rows={keys}
          keyOf={({ kid }) => kid}
          columns={[
            { name: "Key", cell: ({ kid }) => <code>{kid}</code> },
            {
              name: "Use",
              cell: ({ signs }) => (signs ? <span class="status good">signs tokens</span> : <span class="status resting">retired</span>),
            },
            { name: "Created", cell: ({ createdOn }) => <Moment at={createdOn} /> },
            { name: "Published until", cell: ({ publishedUntil }) => (publishedUntil === null ? "its rotation" : <Moment at={publishedUntil} />) },
            {
              name: "Actions",
              isAction: true,
              cell: (key) => (
                <button type="button" class="danger" onClick={() => setQuestion({ verb: "Revoke", key })}>
                  Revoke…<span class="unseen"> {key.kid}</span>
                </button>
              ),
            },
          ]}
        />
      )}
      {question?.verb === "Rotate" ? (
        <ConfirmDialog
          title="Rotate the signing key?"
          verb="Rotate"
          onClose={close}
          onConfirm={() => act(request("/admin/keys/rotate", { method: "POST" }), "A new key signs from now on.")}
        >
          <p>A new key signs from now on. The previous key stays published until its last token ends, so no token becomes invalid.</p>
        </ConfirmDialog>
      ) : null}
      {question?.verb === "Revoke" ? (
        <ConfirmDialog
          title="Revoke this signing key?"
          verb="Revoke"
          onClose={close}
          onConfirm={() => act(request(`/admin/keys/${encodeURIComponent(question.key.kid)}`, { method: "DELETE" }), "The key is revoked.")}
        >
          <p>
            Tokens that <code>{question.key.kid}</code> signed become invalid when verifiers read the keys again.{" "}
            {question.key.signs ? "The next token creates another key." : null}
          </p>
        </ConfirmDialog>
      ) : null}
    </>
  );
}
