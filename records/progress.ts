/** What a running prediction has given so far: output and logs. Owns how often its caller is told; sends nothing. */
import type { WebhookEvent } from './deliveries.ts'
import type { Outbox } from './outbox.ts'
import type { Dialect, Operation } from './statement.ts'
import type { Progress } from './store.ts'

/** Replicate's own pace (prediction-agent specification, 10.2). What is left out comes with the next event. */
const betweenEventsMs = 500

export function makeProgress(dialect: Dialect, outbox: Outbox) {
  const current = dialect.prepare((db, p: { id: string }) =>
    dialect.locking(
      db.selectFrom('predictions').select(['id', 'status', 'token', 'webhook']).where('id', '=', p.id),
    ),
  )
  const before = dialect.prepare((db, p: { id: string }) =>
    db
      .selectFrom('prediction_outputs')
      .select(['partial', 'logs', 'output_told_at', 'logs_told_at'])
      .where('id', '=', p.id),
  )
  const keep = dialect.prepare(
    (db, p: { id: string; partial: string | null; logs: string; outputTold: number; logsTold: number }) => {
      const seen = {
        partial: p.partial,
        logs: p.logs,
        output_told_at: p.outputTold,
        logs_told_at: p.logsTold,
      }
      return db
        .insertInto('prediction_outputs')
        .values({ id: p.id, outputs: 'null', ...seen })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(seen))
    },
  )

  return {
    /** True if the outbox has a message about it now. Nothing of a call that is no longer the current one counts. */
    *note(id: string, token: number, { output, logs }: Progress, now: number): Operation<boolean> {
      const [row] = yield* current({ id })
      if (row === undefined || row.status !== 'running' || row.token !== token) return false
      const [known] = yield* before({ id })
      let outputTold = known?.output_told_at ?? 0
      let logsTold = known?.logs_told_at ?? 0
      const events: WebhookEvent[] = []
      if (output !== undefined && output !== known?.partial && now - outputTold >= betweenEventsMs) {
        outputTold = now
        events.push('output')
      }
      if (logs !== undefined && logs !== (known?.logs ?? '') && now - logsTold >= betweenEventsMs) {
        logsTold = now
        events.push('logs')
      }
      yield* keep({
        id,
        partial: output ?? known?.partial ?? null,
        logs: logs ?? known?.logs ?? '',
        outputTold,
        logsTold,
      })
      for (const event of events) yield* outbox.happened(event, [row], now)
      return row.webhook !== '' && events.length > 0
    },
  }
}
