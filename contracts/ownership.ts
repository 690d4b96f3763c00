/**
 * The ownership check: what it asks of the store, what it found, and how its workflow is asked for. Written into Temporal's
 * history: a wire format.
 */

/** What has an owner: the workflow of the same name (of a validation, its keeper in its place). */
export const ownedKinds = ['flight', 'guard', 'delivery', 'validation'] as const
export type OwnedKind = (typeof ownedKinds)[number]

/** What looked: the schedule's run, the one at the start of a worker or of `npm start`, an operator's. */
export const checkOccasions = ['hour', 'start', 'command'] as const
export type CheckOccasion = (typeof checkOccasions)[number]

/** Something that needs a workflow of ours, whether it has one or not. */
export interface LeftOpen {
  /** Of a flight its prefix, of a guard its process; the others' own. */
  id: string
  /** By the store's clock. */
  ageMs: number
  /** Of a flight that is not marked as started: the process whose guard sees to it. */
  unstartedBy?: string | undefined
  /** Of a delivery: the message that starts it has not been sent yet. */
  unsent?: boolean | undefined
  /** Of a guard: its API process has never opened, so it holds nothing. */
  unopened?: boolean | undefined
}

export interface OwnershipInput {
  found: CheckOccasion
  /** What is younger is not looked at; absent = 2 minutes. */
  minAgeMs?: number
}

export const standardMinAgeMs = 120_000

/** An open record without a live workflow. */
export interface Ownerless {
  kind: OwnedKind
  /** Of the workflow. */
  id: string
  /** How its last run closed, in Temporal's word; null = Temporal knows of none. */
  closed: string | null
  ageMs: number
}

/** The same for whoever counts and logs it. */
export interface FoundOwnerless extends Ownerless {
  found: CheckOccasion
  /** `refused`: Temporal takes no start of it. */
  outcome: 'owned' | 'refused'
}

export interface OwnershipReport {
  checked: { flights: number; guards: number; deliveries: number; validations: number }
  ownerless: Ownerless[]
}

export interface OwnershipActivities {
  /** Looks, gives what has no owner one again, and counts it. Names the first 1,000. Heartbeats. */
  checkOwnership(input: OwnershipInput): Promise<OwnershipReport>
}
