/** Delivers one webhook event: waits for its turn, tries, waits, tries again. Owns the schedule; never on a prediction's path. */
import { proxyActivities, sleep } from '@temporalio/workflow'
import {
  type DeliverReport,
  type DeliveryActivities,
  type DeliveryInput,
  deliveryDelaysMs,
  mostTurnsWaited,
  turnPauseMs,
} from '../contracts/deliveries.ts'
import { untilDone } from './another-round.ts'

/** Receivers that were down together are not to be called together: each delay is up to this part longer. */
const jitter = 0.2

/** The workflow `delivery-<id>`; its result is how the delivery ended. */
export async function delivery(input: DeliveryInput): Promise<DeliverReport['status']> {
  const { deliver, reopenDelivery } = proxyActivities<DeliveryActivities>({
    taskQueue: input.queue,
    startToCloseTimeout: '1 minute',
    retry: { initialInterval: '1s', maximumInterval: '30s' },
  })
  if (input.again) await untilDone(() => reopenDelivery(input.id))
  const delays = input.delaysMs ?? deliveryDelaysMs
  let waitMs = delays[0] ?? 0
  for (let tries = 1, turns = 0; ; ) {
    if (waitMs > 0) await sleep(waitMs)
    const delay = delays[tries]
    const nextMs = delay === undefined ? {} : { nextMs: Math.round(delay * (1 + jitter * Math.random())) }
    const turn = turns < mostTurnsWaited ? {} : ({ outOfTurn: true } as const)
    const report = await untilDone(() => deliver({ id: input.id, ...nextMs, ...turn }))
    if (report.status !== 'waiting') return report.status
    waitMs = report.early ? turnPauseMs(turns++) : report.waitMs
    if (!report.early) tries++
  }
}
