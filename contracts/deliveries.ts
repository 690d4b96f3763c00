/** What the delivery of one webhook event exchanges with its activity. Written into Temporal's history: a wire format. */

export interface DeliveryInput {
  /** Of the delivery, which is also its `webhook-id`. */
  id: string
  /** Task queue of the tries. */
  queue: string
  /** Before each try; absent = `deliveryDelaysMs`. */
  delaysMs?: number[]
  /** Asked for by its sender, although it had ended. */
  again?: boolean
}

export interface DeliverInput {
  id: string
  /** Until the next try, should this one fail; absent on the last try. */
  nextMs?: number
  /** Earlier events of the prediction have been waited for long enough. */
  outOfTurn?: true
}

export interface DeliverReport {
  /** `gone`: the endpoint answered 410, now or earlier. */
  status: 'waiting' | 'succeeded' | 'failed' | 'gone'
  /** Until the next try: what the receiver asked for, or more than was planned where it is overloaded. */
  waitMs: number
  /** No try was made: an earlier event of the prediction has to be tried first. */
  early?: true
}

export interface DeliveryActivities {
  /** One try. Never fails for what the receiver does. */
  deliver(input: DeliverInput): Promise<DeliverReport>
  /** Makes an ended delivery wait again. */
  reopenDelivery(id: string): Promise<void>
}

const second = 1_000
const minute = 60 * second
const hour = 60 * minute

/** So often a first try lets those of earlier events go before, with growing pauses: a minute in all. */
export const mostTurnsWaited = 20

/** Between looks whether it is an event's turn. */
export function turnPauseMs(turn: number): number {
  return Math.min(5 * second, Math.round(100 * 1.5 ** turn))
}

/** Before each try: 75.6 hours in all (prediction-agent specification, 10.2). */
export const deliveryDelaysMs: readonly number[] = [
  0,
  5 * second,
  5 * minute,
  30 * minute,
  2 * hour,
  5 * hour,
  10 * hour,
  14 * hour,
  20 * hour,
  24 * hour,
]
