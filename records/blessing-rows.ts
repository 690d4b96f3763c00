/** Rows of blessings in either dialect. They are written once; only their revocation is added. */
import { type RawBuilder, type Selectable, type SqlBool, sql } from 'kysely'
import type { Blessing } from '../contracts/validation-record.ts'
import type { Dialect, Operation } from './statement.ts'
import type { StoredBlessing, ValidationTables } from './validations.ts'

/** The column has this text; empty: any. */
export function isOrAny(column: string, wanted: string): RawBuilder<SqlBool> {
  return sql`(${sql.ref(column)} = ${wanted} or ${wanted} = '')`
}

/** PostgreSQL's text holds no NUL. */
export function storable(text: string): string {
  return text.replaceAll('\0', '\u{fffd}')
}

export type BlessingRows = ReturnType<typeof makeBlessingRows>

export function makeBlessingRows(dialect: Dialect) {
  const putBlessing = dialect.prepare(
    (
      db,
      p: {
        id: string
        validation: string
        verdict: ValidationTables['blessings']['verdict']
        name: string
        digest: string
        body: string
        created: number
        expires: number
      },
    ) =>
      db
        .insertInto('blessings')
        .values({
          id: p.id,
          validation_id: p.validation,
          verdict: p.verdict,
          model_name: p.name,
          model_digest: p.digest,
          body: p.body,
          created_at: p.created,
          expires_at: p.expires,
        })
        .onConflict((on) => on.column('id').doNothing()),
  )
  const oneBlessing = dialect.prepare((db, p: { id: string }) =>
    db.selectFrom('blessings').select(shown).where('id', '=', p.id),
  )
  const blessingPage = dialect.prepare(
    (db, p: { limit: number; before: number; name: string; verdict: string }) =>
      db
        .selectFrom('blessings')
        .select(shown)
        .where('seq', '<', p.before)
        .where(isOrAny('model_name', p.name))
        .where(isOrAny('verdict', p.verdict))
        .orderBy('seq', 'desc')
        .limit(p.limit),
  )
  const blessingsOf = dialect.prepare((db, p: { digest: string; names: string; limit: number }) =>
    db
      .selectFrom('blessings')
      .select(shown)
      .where((of) => of.or([of('model_digest', '=', p.digest), dialect.among('model_name', p.names)]))
      .orderBy('seq', 'desc')
      .limit(p.limit),
  )
  const setRevoked = dialect.prepare((db, p: { id: string; reason: string; now: number }) =>
    db
      .updateTable('blessings')
      .set({ revoked_at: p.now, revoked_reason: p.reason })
      .where('id', '=', p.id)
      .where('revoked_at', 'is', null),
  )

  return {
    *keep(validation: string, blessing: Blessing): Operation<void> {
      yield* putBlessing({
        id: blessing.id,
        validation,
        verdict: blessing.verdict,
        name: blessing.model.name,
        digest: blessing.model.digest,
        body: storable(JSON.stringify(blessing)),
        created: Date.parse(blessing.createdAt),
        expires: Date.parse(blessing.expiresAt),
      })
    },
    *get(id: string): Operation<StoredBlessing | undefined> {
      const [row] = yield* oneBlessing({ id })
      return row && blessingOf(row)
    },
    *list(p: Parameters<typeof blessingPage>[0]): Operation<StoredBlessing[]> {
      return (yield* blessingPage(p)).map(blessingOf)
    },
    *of(p: { digest: string; names: string; limit: number }): Operation<StoredBlessing[]> {
      return (yield* blessingsOf(p)).map(blessingOf)
    },
    *revoke(
      { id, reason }: { id: string; reason: string },
      now: number,
    ): Operation<StoredBlessing | undefined> {
      yield* setRevoked({ id, reason: storable(reason), now })
      const [row] = yield* oneBlessing({ id })
      return row && blessingOf(row)
    },
  }
}

type BlessingRow = Selectable<ValidationTables['blessings']>
const shown = [
  'seq',
  'body',
  'validation_id',
  'revoked_at',
  'revoked_reason',
] as const satisfies readonly (keyof BlessingRow)[]

function blessingOf(row: Pick<BlessingRow, (typeof shown)[number]>): StoredBlessing {
  return {
    seq: row.seq,
    blessing: JSON.parse(row.body),
    validationId: row.validation_id,
    revokedAt: row.revoked_at === null ? null : new Date(row.revoked_at).toISOString(),
    revokedReason: row.revoked_reason,
  }
}
