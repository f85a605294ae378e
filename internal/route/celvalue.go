package route

import (
	"reflect"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/longline/longline/internal/format"
)

// spend counts steps, and returns an error if there are too many. holds asks again, so that a caller that cannot return the error may ignore
// it.
func (v *View) spend(steps int) *types.Err {
	if v.work += steps; v.work > maxWork {
		return types.WrapErr(errWork).(*types.Err)
	}
	return nil
}

// celText returns a text of the message.
func (v *View) celText(text string) ref.Val {
	if err := v.spend(1 + len(text)/bytesPerStep); err != nil {
		return err
	}
	return types.String(text)
}

// celLevels returns the levels of the topic.
func (v *View) celLevels() ref.Val {
	if err := v.spend(1 + len(v.message.Topic)/bytesPerStep); err != nil {
		return err
	}
	return types.NewStringList(types.DefaultTypeAdapter, v.topicLevels())
}

// celProperties returns the user properties; of those with the same name, the first.
func (v *View) celProperties() ref.Val {
	steps := 1
	for _, p := range v.message.Properties {
		steps += 1 + (len(p.Key)+len(p.Value))/bytesPerStep
	}
	if err := v.spend(steps); err != nil {
		return err
	}
	all := make(map[string]string, len(v.message.Properties))
	for _, p := range v.message.Properties {
		if _, repeated := all[p.Key]; !repeated {
			all[p.Key] = p.Value
		}
	}
	return types.NewStringStringMap(types.DefaultTypeAdapter, all)
}

// celValue returns a value of the payload's tree as one of CEL. Maps and lists stay in the tree.
func (v *View) celValue(x format.Value) ref.Val {
	switch x.Kind() {
	case format.Bool:
		return types.Bool(x.Bool())
	case format.Int:
		i, _ := x.Int()
		return types.Int(i)
	case format.Uint:
		u, _ := x.Uint()
		return types.Uint(u)
	case format.Float:
		f, _ := x.Float()
		return types.Double(f)
	case format.Text:
		return v.celText(x.Text())
	case format.Bytes:
		if err := v.spend(1 + len(x.Bytes())/bytesPerStep); err != nil {
			return err
		}
		return types.Bytes(x.Bytes())
	case format.List:
		return list{branch{x, v}}
	case format.Map:
		return fields{branch{x, v}}
	}
	return types.NullValue
}

// branch is a map or a list of a payload's tree.
type branch struct {
	value format.Value
	view  *View
}

// stepsPerCopy is what copying a value is worth, which allocates.
const stepsPerCopy = 4

// copied returns the map or list as CEL's own, for what is rare.
func (b branch) copied() ref.Val {
	if err := b.view.spend(stepsPerCopy * size(b.value)); err != nil {
		return err
	}
	return types.DefaultTypeAdapter.NativeToValue(b.value.Any())
}

// size returns the steps that x and all below it are worth.
func size(x format.Value) int {
	n := 1 + (len(x.Text())+len(x.Bytes()))/bytesPerStep
	for e := range x.Elements() {
		n += size(e)
	}
	return n
}

// ConvertToNative implements ref.Val.
func (b branch) ConvertToNative(t reflect.Type) (any, error) { return b.copied().ConvertToNative(t) }

// ConvertToType implements ref.Val.
func (b branch) ConvertToType(t ref.Type) ref.Val { return b.copied().ConvertToType(t) }

// Equal implements ref.Val.
func (b branch) Equal(other ref.Val) ref.Val {
	if o, ok := other.(interface{ copied() ref.Val }); ok {
		other = o.copied()
	}
	return b.copied().Equal(other)
}

// Value implements ref.Val.
func (b branch) Value() any { return b.value.Any() }

// Size implements traits.Sizer.
func (b branch) Size() ref.Val { return types.Int(b.value.Len()) }

// fields is a map of a payload's tree.
type fields struct{ branch }

var _ traits.Mapper = fields{}

// Type implements ref.Val.
func (fields) Type() ref.Type { return types.MapType }

// Find implements traits.Mapper.
func (f fields) Find(key ref.Val) (ref.Val, bool) {
	if err := f.view.spend(f.value.Len()); err != nil {
		return err, false
	}
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	x, ok := f.value.Field(string(name))
	if !ok {
		return nil, false
	}
	return f.view.celValue(x), true
}

// Get implements traits.Indexer.
func (f fields) Get(key ref.Val) ref.Val {
	x, ok := f.Find(key)
	switch {
	case ok:
		return x
	case x != nil:
		return x // an error
	}
	return types.NewErr("no such key: %v", key)
}

// Contains implements traits.Container.
func (f fields) Contains(key ref.Val) ref.Val {
	x, ok := f.Find(key)
	if !ok && x != nil {
		return x // an error
	}
	return types.Bool(ok)
}

// Iterator implements traits.Iterable, over the names.
func (f fields) Iterator() traits.Iterator {
	var names []string
	if f.view.spend(f.value.Len()) == nil {
		names = make([]string, 0, f.value.Len())
		for name := range f.value.Fields() {
			names = append(names, name)
		}
	}
	return types.NewStringList(types.DefaultTypeAdapter, names).Iterator()
}

// list is a list of a payload's tree.
type list struct{ branch }

var _ traits.Lister = list{}

// Type implements ref.Val.
func (list) Type() ref.Type { return types.ListType }

// Get implements traits.Indexer.
func (l list) Get(index ref.Val) ref.Val {
	i, err := types.IndexOrError(index)
	if err != nil {
		return types.WrapErr(err)
	}
	if i < 0 || i >= l.value.Len() {
		return types.NewErr("index out of bounds: %d", i)
	}
	if err := l.view.spend(i + 1); err != nil {
		return err
	}
	return l.view.celValue(l.value.At(i))
}

// Add implements traits.Adder.
func (l list) Add(other ref.Val) ref.Val {
	own, ok := l.copied().(traits.Adder)
	if !ok {
		return types.WrapErr(errWork)
	}
	return own.Add(other)
}

// Contains implements traits.Container.
func (l list) Contains(x ref.Val) ref.Val {
	for e := range l.value.Elements() {
		if err := l.view.spend(1); err != nil {
			return err
		}
		if types.Equal(x, l.view.celValue(e)) == types.True {
			return types.True
		}
	}
	return types.False
}

// Iterator implements traits.Iterable.
func (l list) Iterator() traits.Iterator {
	var all []ref.Val
	if l.view.spend(l.value.Len()) == nil {
		all = make([]ref.Val, 0, l.value.Len())
		for e := range l.value.Elements() {
			all = append(all, l.view.celValue(e))
		}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, all).Iterator()
}
