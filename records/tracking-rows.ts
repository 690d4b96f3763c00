/** Rows of tracking records and model endpoints in either dialect. */
import { isJsonObject, parseJson, printJson } from '../contracts/json.ts'
import { isOrAny, storable } from './blessing-rows.ts'
import { type Engine, oneByOne } from './group.ts'
import { type Dialect, type Operation, together } from './statement.ts'
import type { JsonText } from './store.ts'
import type { NewModelEndpoint, NewTrackingRecord, TrackingFilter, TrackingStore } from './tracking.ts'

const newest = Number.MAX_SAFE_INTEGER

interface EndpointPatch {
  project: string
  uid: string
  spec: Readonly<Record<string, unknown>>
}

export function makeTrackingStore(dialect: Dialect, engine: Engine): TrackingStore {
  const rows = makeRows(dialect)
  const endpointKey = (r: { project: string; uid: string }) => [`endpoint ${r.project}/${r.uid}`]
  const append = oneByOne(
    () => [],
    (records: readonly NewTrackingRecord[], now) => rows.append(records, now),
  )
  const create = oneByOne(endpointKey, (r: NewModelEndpoint, now) => rows.create(r, now))
  const patch = oneByOne(endpointKey, (r: EndpointPatch) => rows.patch(r))
  return {
    append: (records) => engine.write(append, records),
    list: (filter) => engine.read(() => rows.list(filter)),
    createEndpoint: (endpoint) => engine.write(create, endpoint),
    endpoint: (project, uid) => engine.read(() => rows.endpoint({ project, uid })),
    endpoints: (project, limit) => engine.read(() => rows.endpoints({ project, limit })),
    patchEndpoint: (project, uid, spec) => engine.write(patch, { project, uid, spec }),
  }
}

function makeRows(dialect: Dialect) {
  const insert = dialect.prepare(
    (db, p: { project: string; model: string; version: string; failed: number; body: string; now: number }) =>
      db.insertInto('tracking_records').values({
        project: p.project,
        model: p.model,
        version: p.version,
        failed: p.failed,
        body: p.body,
        created_at: p.now,
      }),
  )
  const page = (kind: 'any' | 'failed' | 'ok') =>
    dialect.prepare(
      (db, p: { project: string; model: string; version: string; before: number; limit: number }) => {
        const query = db
          .selectFrom('tracking_records')
          .select(['seq', 'created_at', 'body'])
          .where('seq', '<', p.before)
          .where(isOrAny('project', p.project))
          .where(isOrAny('model', p.model))
          .where(isOrAny('version', p.version))
          .orderBy('seq', 'desc')
          .limit(p.limit)
        return kind === 'any' ? query : query.where('failed', '=', kind === 'failed' ? 1 : 0)
      },
    )
  const pages = { any: page('any'), failed: page('failed'), ok: page('ok') }
  const insertEndpoint = dialect.prepare(
    (db, p: { project: string; uid: string; model: string; body: string; now: number }) =>
      db
        .insertInto('model_endpoints')
        .values({ project: p.project, uid: p.uid, model: p.model, body: p.body, created_at: p.now })
        .onConflict((on) => on.columns(['project', 'uid']).doNothing())
        .returning('uid'),
  )
  const oneEndpoint = dialect.prepare((db, p: { project: string; uid: string }) =>
    db.selectFrom('model_endpoints').select('body').where('project', '=', p.project).where('uid', '=', p.uid),
  )
  const lockedEndpoint = dialect.prepare((db, p: { project: string; uid: string }) =>
    dialect.locking(
      db
        .selectFrom('model_endpoints')
        .select('body')
        .where('project', '=', p.project)
        .where('uid', '=', p.uid),
    ),
  )
  const allEndpoints = dialect.prepare((db, p: { project: string; limit: number }) =>
    db
      .selectFrom('model_endpoints')
      .select('body')
      .where(isOrAny('project', p.project))
      .orderBy('created_at')
      .orderBy('uid')
      .limit(p.limit),
  )
  const keepEndpoint = dialect.prepare((db, p: { project: string; uid: string; body: string }) =>
    db
      .updateTable('model_endpoints')
      .set({ body: p.body })
      .where('project', '=', p.project)
      .where('uid', '=', p.uid),
  )

  return {
    *append(records: readonly NewTrackingRecord[], now: number): Operation<void> {
      yield* together(
        records.map(({ project, model, version, failed, body }) =>
          insert({
            project: storable(project),
            model: storable(model),
            version: storable(version),
            failed: failed ? 1 : 0,
            body,
            now,
          }),
        ),
      )
    },

    *list({ project = '', model = '', version = '', failed, before = newest, limit }: TrackingFilter) {
      const question = pages[failed === undefined ? 'any' : failed ? 'failed' : 'ok']
      const rows = yield* question({ project, model, version, before, limit })
      return rows.map((row) => ({
        seq: row.seq,
        createdAt: new Date(row.created_at).toISOString(),
        body: row.body,
      }))
    },

    *create({ project, uid, model, body }: NewModelEndpoint, now: number): Operation<boolean> {
      return (yield* insertEndpoint({ project, uid, model: storable(model), body, now })).length > 0
    },

    *endpoint(key: { project: string; uid: string }): Operation<JsonText | undefined> {
      return (yield* oneEndpoint(key))[0]?.body
    },

    *endpoints(which: { project: string; limit: number }): Operation<JsonText[]> {
      return (yield* allEndpoints(which)).map(({ body }) => body)
    },

    *patch({ project, uid, spec }: EndpointPatch): Operation<JsonText | undefined> {
      const [row] = yield* lockedEndpoint({ project, uid })
      if (row === undefined) return undefined
      const record = parseJson(row.body)
      const before = isJsonObject(record) ? record : {}
      const body = printJson({ ...before, spec: { ...Object(before.spec), ...spec } })
      yield* keepEndpoint({ project, uid, body })
      return body
    },
  }
}
