/** Rows of validations, their attempts and texts in either dialect. Decides nothing but who was first. */
import type { Selectable } from 'kysely'
import type { Progress } from '../contracts/validations.ts'
import { type BlessingRows, isOrAny, makeBlessingRows, storable } from './blessing-rows.ts'
import { type Engine, oneByOne } from './group.ts'
import type { Dialect, Operation } from './statement.ts'
import type {
  AttemptPatch,
  NewValidation,
  StoredAttempt,
  StoredValidation,
  ValidationEnd,
  ValidationStore,
  ValidationTables,
} from './validations.ts'

const newest = Number.MAX_SAFE_INTEGER

export function makeValidationStore(dialect: Dialect, engine: Engine): ValidationStore {
  const blessings = makeBlessingRows(dialect)
  const rows = makeRows(dialect, blessings)
  const ownId = (r: { id: string }) => [r.id]
  const create = oneByOne(ownId, (r: NewValidation, now) => rows.create(r, now))
  const plan = oneByOne(ownId, (r: { id: string; plan: string }) => rows.plan(r))
  const show = oneByOne(ownId, (r: { id: string; progress: string }) => rows.show(r))
  const patch = oneByOne(ownId, (r: AttemptKey & { patch: AttemptPatch }) => rows.patch(r))
  const keepText = oneByOne(ownId, (r: { id: string; name: string; text: string }) => rows.keepText(r))
  const end = oneByOne(ownId, (r: { id: string; end: ValidationEnd }, now) => rows.end(r.id, r.end, now))
  const revoke = oneByOne(ownId, (r: { id: string; reason: string }, now) => blessings.revoke(r, now))
  return {
    create: (validation) => engine.write(create, validation),
    get: (id) => engine.read(() => rows.get(id)),
    list: ({ limit, before = newest, modelName }) =>
      engine.read(() => rows.list({ limit, before, name: modelName ?? '' })),
    keepPlan: (id, text) => engine.write(plan, { id, plan: text }),
    show: (id, progress) => engine.write(show, { id, progress: JSON.stringify(progress) }),
    patchAttempt: (id, binary, n, change) => engine.write(patch, { id, binary, n, patch: change }),
    attempts: (id) => engine.read(() => rows.attempts(id)),
    keepText: (id, name, text) => engine.write(keepText, { id, name, text: storable(text) }),
    text: (id, name) => engine.read(() => rows.text(id, name)),
    end: (id, ended) => engine.write(end, { id, end: ended }),
    blessing: (id) => engine.read(() => blessings.get(id)),
    blessings: ({ limit, before = newest, modelName = '', verdict = '' }) =>
      engine.read(() => blessings.list({ limit, before, name: modelName, verdict })),
    blessingsOf: ({ digest, names, limit }) =>
      engine.read(() => blessings.of({ digest, names: JSON.stringify(names), limit })),
    revoke: (id, reason) => engine.write(revoke, { id, reason }),
  }
}

interface AttemptKey {
  id: string
  binary: number
  n: number
}

function makeRows(dialect: Dialect, blessings: BlessingRows) {
  const insert = dialect.prepare(
    (
      db,
      p: { id: string; name: string; spec: string; template: string | null; progress: string; now: number },
    ) =>
      db
        .insertInto('validations')
        .values({
          id: p.id,
          model_name: p.name,
          status: 'running',
          spec: p.spec,
          template: p.template,
          progress: p.progress,
          created_at: p.now,
        })
        .onConflict((on) => on.column('id').doNothing())
        .returning('id'),
  )
  const one = dialect.prepare((db, p: { id: string }) =>
    db.selectFrom('validations').select(shown).where('id', '=', p.id),
  )
  const locked = dialect.prepare((db, p: { id: string }) =>
    dialect.locking(db.selectFrom('validations').select(shown).where('id', '=', p.id)),
  )
  const page = dialect.prepare((db, p: { limit: number; before: number; name: string }) =>
    db
      .selectFrom('validations')
      .select(shown)
      .where('seq', '<', p.before)
      .where(isOrAny('model_name', p.name))
      .orderBy('seq', 'desc')
      .limit(p.limit),
  )
  const setPlan = dialect.prepare((db, p: { id: string; plan: string }) =>
    db.updateTable('validations').set({ plan: p.plan }).where('id', '=', p.id),
  )
  const setProgress = dialect.prepare((db, p: { id: string; progress: string }) =>
    db
      .updateTable('validations')
      .set({ progress: p.progress })
      .where('id', '=', p.id)
      .where('status', '=', 'running'),
  )
  const setEnd = dialect.prepare(
    (
      db,
      p: {
        id: string
        verdict: ValidationTables['blessings']['verdict']
        errorClass: ValidationTables['validations']['error_class']
        errorMessage: string | null
        blessing: string | null
        progress: string
        now: number
      },
    ) =>
      db
        .updateTable('validations')
        .set({
          status: 'ended',
          verdict: p.verdict,
          error_class: p.errorClass,
          error_message: p.errorMessage,
          blessing_id: p.blessing,
          progress: p.progress,
          ended_at: p.now,
        })
        .where('id', '=', p.id),
  )
  const oneAttempt = dialect.prepare((db, p: { id: string; binary: number; n: number }) =>
    dialect.locking(
      db
        .selectFrom('validation_attempts')
        .select('body')
        .where('validation_id', '=', p.id)
        .where('binary_index', '=', p.binary)
        .where('n', '=', p.n),
    ),
  )
  const keepAttempt = dialect.prepare((db, p: { id: string; binary: number; n: number; body: string }) =>
    db
      .insertInto('validation_attempts')
      .values({ validation_id: p.id, binary_index: p.binary, n: p.n, body: p.body })
      .onConflict((on) =>
        on
          .columns(['validation_id', 'binary_index', 'n'])
          .doUpdateSet((of) => ({ body: of.ref('excluded.body') })),
      ),
  )
  const allAttempts = dialect.prepare((db, p: { id: string }) =>
    db
      .selectFrom('validation_attempts')
      .select(['binary_index', 'n', 'body'])
      .where('validation_id', '=', p.id)
      .orderBy('binary_index')
      .orderBy('n'),
  )
  const putText = dialect.prepare((db, p: { id: string; name: string; text: string }) =>
    db
      .insertInto('validation_texts')
      .values({ validation_id: p.id, name: p.name, body: p.text })
      .onConflict((on) =>
        on.columns(['validation_id', 'name']).doUpdateSet((of) => ({ body: of.ref('excluded.body') })),
      ),
  )
  const oneText = dialect.prepare((db, p: { id: string; name: string }) =>
    db
      .selectFrom('validation_texts')
      .select('body')
      .where('validation_id', '=', p.id)
      .where('name', '=', p.name),
  )
  return {
    *create({ id, modelName, spec, template }: NewValidation, now: number): Operation<boolean> {
      const progress = JSON.stringify({ phase: 'pending' } satisfies Progress)
      const inserted = yield* insert({ id, name: modelName, spec, template: template ?? null, progress, now })
      return inserted.length > 0
    },
    *get(id: string): Operation<StoredValidation | undefined> {
      const [row] = yield* one({ id })
      return row && validationOf(row)
    },
    *list(p: Parameters<typeof page>[0]): Operation<StoredValidation[]> {
      return (yield* page(p)).map(validationOf)
    },
    *plan(p: { id: string; plan: string }): Operation<void> {
      yield* setPlan(p)
    },
    *show(p: { id: string; progress: string }): Operation<void> {
      yield* setProgress(p)
    },
    *patch({ id, binary, n, patch }: AttemptKey & { patch: AttemptPatch }): Operation<void> {
      const [row] = yield* oneAttempt({ id, binary, n })
      const before: StoredAttempt = row === undefined ? { n, binary } : JSON.parse(row.body)
      yield* keepAttempt({ id, binary, n, body: storable(JSON.stringify(merged(before, patch))) })
    },
    *attempts(id: string): Operation<StoredAttempt[]> {
      return (yield* allAttempts({ id })).map((row) => JSON.parse(row.body))
    },
    *keepText(p: { id: string; name: string; text: string }): Operation<void> {
      yield* putText(p)
    },
    *text(id: string, name: string): Operation<string | undefined> {
      return (yield* oneText({ id, name }))[0]?.body
    },
    *end(
      id: string,
      { verdict, error, blessing }: ValidationEnd,
      now: number,
    ): Operation<StoredValidation | undefined> {
      const [before] = yield* locked({ id })
      if (before === undefined || before.status === 'ended') return before && validationOf(before)
      if (blessing !== undefined) {
        yield* blessings.keep(id, blessing)
      }
      yield* setEnd({
        id,
        verdict,
        errorClass: error?.class ?? null,
        errorMessage: error === undefined ? null : storable(error.message),
        blessing: blessing?.id ?? null,
        progress: JSON.stringify({ phase: 'ended' } satisfies Progress),
        now,
      })
      const [after] = yield* one({ id })
      return after && validationOf(after)
    },
  }
}

/** Each state is entered once: a repeated activity adds no second transition. */
function merged(before: StoredAttempt, patch: AttemptPatch): StoredAttempt {
  const seen = new Set(before.transitions?.map(({ to }) => to))
  const last = before.transitions?.at(-1)?.to
  const added = (patch.transitions ?? [])
    .filter(({ to }) => !seen.has(to))
    .map((step, index) => (index === 0 && last !== undefined ? { ...step, from: last } : step))
  return {
    ...before,
    ...patch,
    transitions: [...(before.transitions ?? []), ...added],
    timings: { ...before.timings, ...patch.timings },
    results: { ...before.results, ...patch.results },
  }
}

type ValidationRow = Selectable<ValidationTables['validations']>
const shown = [
  'seq',
  'id',
  'model_name',
  'status',
  'verdict',
  'error_class',
  'error_message',
  'blessing_id',
  'template',
  'spec',
  'plan',
  'progress',
  'created_at',
  'ended_at',
] as const satisfies readonly (keyof ValidationRow)[]

function validationOf(row: Pick<ValidationRow, (typeof shown)[number]>): StoredValidation {
  return {
    seq: row.seq,
    id: row.id,
    modelName: row.model_name,
    status: row.status,
    verdict: row.verdict,
    error: row.error_class === null ? null : { class: row.error_class, message: row.error_message ?? '' },
    blessingId: row.blessing_id,
    template: row.template,
    spec: row.spec,
    plan: row.plan,
    progress: JSON.parse(row.progress),
    createdAt: new Date(row.created_at).toISOString(),
    endedAt: row.ended_at === null ? null : new Date(row.ended_at).toISOString(),
  }
}
