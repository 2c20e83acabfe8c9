package cli

import (
	"github.com/spf13/cobra"

	"github.com/perdure-dev/perdure/core"
)

// changed is what cancel prints with --json.
type changed struct {
	ExecutionID string      `json:"execution_id"`
	Status      core.Status `json:"status,omitempty"`
}

func (a *app) cancelCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "cancel ID",
		Short: "Cancel an execution and all that is unfinished below it",
		Long: `cancel ends an unfinished execution, and all that is unfinished below it, as cancelled. Running code is told within
a second or so. A finished execution stays as it is, which is an error.`,
		Example: `  perdure cancel order-17 --reason "the customer called"`,
		Args:    oneID,
	}
	cmd.ValidArgsFunction = a.first(a.ids(unfinished))
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who look at it later")
	a.writerFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		client, err := a.open(cmd.Context())
		if err != nil {
			return err
		}
		if err := client.Cancel(cmd.Context(), args[0], reason); err != nil {
			return err
		}
		if a.json {
			return a.printJSON(changed{args[0], core.StatusCancelled})
		}
		return a.line("%s is cancelled", args[0])
	}
	return cmd
}
