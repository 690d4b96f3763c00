/** One line on a terminal that says what a prediction does while somebody waits; silent where there is no terminal. */
import type { TaskRecord } from '../contracts/predictions.ts'
import { liveLine } from './live-line.ts'

export interface LiveStatus {
  look(record: TaskRecord): void
  end(): void
}

export function liveStatus(stream?: NodeJS.WriteStream): LiveStatus {
  const line = liveLine(stream)
  return {
    look({ id, model_name: model, status, queue_num: ahead }) {
      const waited = status === 'pending' && ahead > 0 ? ` (${ahead} waited before it)` : ''
      line.say(`${model} ${id} ${status}${waited}`)
    },
    end: line.end,
  }
}
