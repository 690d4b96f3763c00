/** Admission of asynchronous predictions as the API composes it, over a given store and a Temporal that a test scripts. */
import { onTestFinished } from 'vitest'
import { makeDoubts } from '../../api/doubts.ts'
import { makeFlights } from '../../api/flights.ts'
import type { AcceptedRequest } from '../../api/predictions.ts'
import { makeStarts } from '../../api/starts.ts'
import type { FlightStart } from '../../contracts/flights.ts'
import type { Store } from '../../records/store.ts'
import type { StartAnswer } from '../../runtime/temporal/client.ts'

export interface Departures {
  flights: ReturnType<typeof makeFlights>
  starts: ReturnType<typeof makeStarts>
  doubts: ReturnType<typeof makeDoubts>
  /** All starts that Temporal was asked for, in their order. */
  asked: FlightStart[]
  /** How Temporal answers from now on; throws = it is away. */
  temporal(answer: (start: FlightStart) => Promise<StartAnswer>): void
  /** Flights that were told to be refused. */
  refused: FlightStart[]
  request(more?: Partial<AcceptedRequest>): AcceptedRequest
}

export interface DeparturesOptions {
  processId?: string
  maxQueueSize?: number
}

export function makeDepartures(store: Store, options: DeparturesOptions = {}): Departures {
  const { processId = 'api-1', maxQueueSize = 10_000 } = options
  const queue = 'critical'
  const asked: FlightStart[] = []
  const refused: FlightStart[] = []
  let answer: (start: FlightStart) => Promise<StartAnswer> = async () => 'started'
  const temporal = {
    startFlight(start: FlightStart) {
      asked.push(start)
      return answer(start)
    },
  }
  const starts = makeStarts({ store, temporal, processId, onRefused: (start) => void refused.push(start) })
  const doubts = makeDoubts({ store, starts, processId, queue })
  const flights = makeFlights({
    ...{ store, starts, doubts, processId, queue, maxQueueSize },
    runTimes: { meanRunMs: () => 1 },
    workerConcurrency: 16,
    laneOf: () => 'call',
    onDead() {
      throw new Error('the store says that this process is dead')
    },
  })
  onTestFinished(async () => {
    await Promise.all([starts.stop(0), doubts.stop(0)])
  })
  return {
    ...{ flights, starts, doubts, asked, refused },
    temporal(next) {
      answer = next
    },
    request: (more = {}) => ({
      target: { name: 'm', version: '', platform: 'v2' } as AcceptedRequest['target'],
      inputs: '{"inputs":[1]}',
      uid: '',
      ...more,
    }),
  }
}
