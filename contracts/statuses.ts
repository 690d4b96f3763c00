/** The statuses of a prediction. Terminal ones absorb: nothing leaves them. Free of zod. */

export const predictionStatuses = ['pending', 'running', 'succeeded', 'failed', 'canceled'] as const
export type PredictionStatus = (typeof predictionStatuses)[number]

export const terminalStatuses = ['succeeded', 'failed', 'canceled'] as const
export type TerminalStatus = (typeof terminalStatuses)[number]

export function isTerminal(status: PredictionStatus): status is TerminalStatus {
  return status !== 'pending' && status !== 'running'
}
