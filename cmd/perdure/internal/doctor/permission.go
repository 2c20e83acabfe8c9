package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	ddbtypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/perdure-dev/perdure/core"
	"github.com/perdure-dev/perdure/functions/handler"
)

// right is an action on a resource.
type right struct{ action, resource string }

// needs returns what a function must be allowed to do, as the template grants it.
func needs(f function, table *ddbtypes.TableDescription) []right {
	arn := aws.ToString(table.TableArn)
	var all []right
	for _, action := range []string{"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "Query"} {
		all = append(all, right{"dynamodb:" + action, arn})
	}
	query := func(index string) { all = append(all, right{"dynamodb:Query", arn + "/index/" + index}) }
	switch f.program {
	case string(core.LoopStartReady), string(core.LoopProcessChildren):
		query("queue")
		query("cancel")
	case string(core.LoopClose), string(core.LoopTimeouts):
		query("queue")
	case string(core.LoopCancellation):
		query("cancel")
	case handler.EnqueueFunction:
		if f.env("PERDURE_LIST") == "yes" {
			query("list")
		}
	}
	if stream := aws.ToString(table.LatestStreamArn); stream != "" && f.program == string(core.LoopStartReady) {
		for _, action := range []string{"DescribeStream", "GetRecords", "GetShardIterator"} {
			all = append(all, right{"dynamodb:" + action, stream})
		}
	}
	return all
}

// checkPermissions reads the policies of the functions' roles. Conditions, boundaries and policies of an organization
// are not looked at.
func (p *Patient) checkPermissions(ctx context.Context, r *report, table *ddbtypes.TableDescription, functions []function) {
	before := len(r.findings)
	for _, f := range functions {
		role := aws.ToString(f.Role)
		name := role[strings.LastIndexByte(role, '/')+1:]
		policies, err := p.policies(ctx, name)
		if err != nil {
			r.skip("permissions", err)
			return
		}
		var missing []string
		for _, n := range needs(f, table) {
			if !allows(policies, n) {
				missing = append(missing, n.action+" on "+n.resource[strings.LastIndexByte(n.resource, ':')+1:])
			}
		}
		if len(missing) > 0 {
			r.fail("permissions", fmt.Sprintf("role %s of %s does not allow %s", name, f.name(), strings.Join(missing, ", ")), "grant it, as the template does")
		}
	}
	if len(r.findings) == before {
		r.ok("permissions", "the roles of %d functions allow what these do", len(functions))
	}
}

// statement is a statement of a policy.
type statement struct {
	Effect   string
	Action   texts
	Resource texts
}

// texts is a JSON text or a list of them.
type texts []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(t))
}

// policies returns the statements of all policies of a role.
func (p *Patient) policies(ctx context.Context, role string) ([]statement, error) {
	var all []statement
	inline := iam.NewListRolePoliciesPaginator(p.IAM, &iam.ListRolePoliciesInput{RoleName: aws.String(role)})
	for inline.HasMorePages() {
		page, err := inline.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, name := range page.PolicyNames {
			out, err := p.IAM.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: aws.String(role), PolicyName: aws.String(name)})
			if err != nil {
				return nil, err
			}
			if all, err = appendStatements(all, aws.ToString(out.PolicyDocument)); err != nil {
				return nil, err
			}
		}
	}
	attached := iam.NewListAttachedRolePoliciesPaginator(p.IAM, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String(role)})
	for attached.HasMorePages() {
		page, err := attached.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, a := range page.AttachedPolicies {
			policy, err := p.IAM.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: a.PolicyArn})
			if err != nil {
				return nil, err
			}
			out, err := p.IAM.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: a.PolicyArn, VersionId: policy.Policy.DefaultVersionId})
			if err != nil {
				return nil, err
			}
			if all, err = appendStatements(all, aws.ToString(out.PolicyVersion.Document)); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// appendStatements adds the statements of a policy, whose text the API gives in URL encoding.
func appendStatements(all []statement, document string) ([]statement, error) {
	text, err := url.PathUnescape(document)
	if err != nil {
		return nil, fmt.Errorf("a policy's document: %w", err)
	}
	var policy struct{ Statement json.RawMessage }
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		return nil, fmt.Errorf("a policy's document: %w", err)
	}
	var list []statement
	if err := json.Unmarshal(policy.Statement, &list); err != nil {
		var one statement
		if err := json.Unmarshal(policy.Statement, &one); err != nil {
			return nil, fmt.Errorf("a policy's statement: %w", err)
		}
		list = []statement{one}
	}
	return append(all, list...), nil
}

// allows reports whether a statement allows it and none denies it.
func allows(statements []statement, n right) bool {
	allowed := false
	for _, s := range statements {
		if !matchesAny(s.Action, n.action) || !matchesAny(s.Resource, n.resource) {
			continue
		}
		if s.Effect == "Deny" {
			return false
		}
		allowed = true
	}
	return allowed
}

func matchesAny(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(strings.ToLower(p), strings.ToLower(text)) })
}

// matches reports whether text is what a pattern with * and ? says.
func matches(pattern, text string) bool {
	for pattern != "" {
		switch {
		case pattern[0] == '*':
			for i := range len(text) + 1 {
				if matches(pattern[1:], text[i:]) {
					return true
				}
			}
			return false
		case text == "" || pattern[0] != '?' && pattern[0] != text[0]:
			return false
		}
		pattern, text = pattern[1:], text[1:]
	}
	return text == ""
}
